"""ComfyUI over its HTTP routes and its WebSocket."""
