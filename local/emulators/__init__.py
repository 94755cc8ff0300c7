"""The emulators of AWS that `up` can start: where each comes from, and one process of it."""
