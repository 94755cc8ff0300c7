"""InvokeAI over its HTTP routes."""
