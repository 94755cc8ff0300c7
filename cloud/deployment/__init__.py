"""From nothing to the first image: the steps of `deploy`, each of which may fail and be run again."""
