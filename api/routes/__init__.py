"""The routes, one module for each dialect."""
