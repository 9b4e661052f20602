"""The format of keys and how they are kept: only as keyed hashes."""
