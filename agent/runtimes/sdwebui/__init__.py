"""AUTOMATIC1111's Stable Diffusion Web UI over its `/sdapi/v1` routes."""
