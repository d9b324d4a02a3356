"""Locks and dead properties of a root, as one numbered journal in the storage; see docs/design.md."""
