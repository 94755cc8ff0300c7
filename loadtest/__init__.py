"""Load tests that judge scaling, and a planner that predicts it."""
