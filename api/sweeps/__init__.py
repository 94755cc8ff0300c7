"""Ends what AWS forgets, and sends again what AWS could not deliver."""
