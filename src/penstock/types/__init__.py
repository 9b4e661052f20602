"""The frozen vocabulary that every package shares. Nothing here does I/O, and anything may import it."""
