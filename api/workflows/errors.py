"""What is wrong with a workflow."""

from __future__ import annotations


class WorkflowError(ValueError):
    """A file that holds no workflow, or one that cannot be converted; the text says why, and the way out."""
