"""Everything that makes a laptop look like AWS: LocalStack, provisioning, the process harness, the terminal client."""
