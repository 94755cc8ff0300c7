"""Finding the stack that is put under load: local, in Compose, in Kubernetes, or in AWS."""
