"""Whether an exchange may go on: limits, held while they must be and given back exactly once."""
