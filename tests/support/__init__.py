"""What tests share: waiting with a deadline, deployments on LocalStack, processes of the real programs."""
