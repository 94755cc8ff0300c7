"""The model bucket: what may lie in it, where, and how files get there and back."""
