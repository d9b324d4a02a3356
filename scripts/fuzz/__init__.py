"""Fuzzing of every parser that a client's bytes reach: `python -m scripts.fuzz`."""
