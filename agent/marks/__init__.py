"""Content credentials: what a file's C2PA manifest tells, and the process that signs it."""
