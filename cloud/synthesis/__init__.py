"""What a config would deploy, written into a folder: templates, rendered charts, and what the fixed part costs."""
