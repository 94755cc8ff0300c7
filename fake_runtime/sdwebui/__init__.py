"""The HTTP API of AUTOMATIC1111's stable-diffusion-webui, under ``/sdapi/v1``."""
