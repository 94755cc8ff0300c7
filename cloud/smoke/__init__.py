"""The reference's verification of a deployment: its own requests, sent, awaited, saved and shown."""
