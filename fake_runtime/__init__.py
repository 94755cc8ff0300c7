"""A stand-in for Stable Diffusion servers: speaks their APIs and fails as they fail, on a CPU."""
