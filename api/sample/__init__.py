"""The sample application: it hands the console out, calls on to the API, and shows what came on the callback topic."""
