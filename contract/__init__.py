"""What the parts of Darkroom say to each other: models, pure functions, and the one record store."""
