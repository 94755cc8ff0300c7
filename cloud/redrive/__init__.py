"""Dead letters back to their queue: sent first, deleted after, so that none is ever lost."""
