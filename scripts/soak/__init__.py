"""A busy server for a long time, with faults, checked against what it has promised."""
