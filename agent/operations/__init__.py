"""What an operator sees of the agent, and how it keeps itself and its runtime well."""
