"""The queue worker: receives tasks, drives one runtime, stores what it answers."""
