"""The base of every error that its reader can mend."""

from __future__ import annotations


class LoadtestError(Exception):
    """Something is wrong with what was asked or with what was found; the text says what, and the way out."""
