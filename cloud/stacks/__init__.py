"""The stacks of a deployment: each reads as the table of contents of what it deploys."""
