"""The HTTP API: accepts tasks, answers for them, cancels them."""
