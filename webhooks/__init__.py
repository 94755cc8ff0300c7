"""The part that delivers webhooks: beside the API, outside the agents."""
