"""The HTTP and WebSocket API of ComfyUI 0.3.64."""
