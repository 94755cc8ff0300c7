"""LocalStack as a plain process: an environment of its own, a launcher that binds one address, and its life cycle."""
