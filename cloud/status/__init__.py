"""How a deployment stands, in one table."""
