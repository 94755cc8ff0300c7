"""MiniStack, the light emulator: its pins, its launcher, its image."""
