"""What can go wrong in a benchmark without being its own fault."""


class Unavailable(Exception):
    """A gateway cannot be measured here; the message is a row of the report."""
