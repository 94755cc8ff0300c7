"""The report: figures, plots, one self-contained page, and the comparison of two runs."""
