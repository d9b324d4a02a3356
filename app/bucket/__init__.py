"""A bucket's own configuration: what it should be, what it is, and the change from one to the other."""
