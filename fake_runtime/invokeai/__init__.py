"""InvokeAI's API: its queue, its images, and enough of its nodes."""
