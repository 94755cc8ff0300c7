"""OpenAI's image and video API, as the servers speak it that people run themselves."""
