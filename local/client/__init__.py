"""The terminal client's parts: recognising a request, talking to the API, showing a task."""
