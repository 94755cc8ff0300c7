"""`python -m local up`: the whole service as plain processes on this machine."""
