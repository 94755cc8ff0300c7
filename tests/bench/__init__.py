"""The bench: how much of the GPU an agent wastes, what a task costs it, and how fast the API takes tasks."""
