"""Which deployment and which replica answer: pure functions over a snapshot and counts."""
