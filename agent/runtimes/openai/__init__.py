"""Servers of OpenAI's image and video API: vLLM-Omni, SGLang, LocalAI, NVIDIA NIM and others."""
