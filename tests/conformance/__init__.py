"""States how runtime servers behave, as cases that any server can be asked: the fake ones here, and real ones."""
