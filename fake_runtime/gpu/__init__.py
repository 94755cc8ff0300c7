"""The one graphics card that this process plays: its time, its memory, its jobs."""
