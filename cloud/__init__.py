"""Everything that takes the containers of the local stack, unchanged, to a CDK-built EKS cluster."""
