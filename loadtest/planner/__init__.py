"""Predicts waiting, GPU use and the monthly bill of a load under scaling settings: `python -m loadtest.planner`."""
