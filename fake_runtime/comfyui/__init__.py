"""The HTTP and WebSocket API of ComfyUI."""
