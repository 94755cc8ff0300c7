"""Makes a task of any ComfyUI workflow that people have: finds it in a file, converts it, and says what can be set."""
