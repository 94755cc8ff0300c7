"""A runtime of one's own, by the contract in docs/conformance.md: one POST per task, health, cancel, progress."""
