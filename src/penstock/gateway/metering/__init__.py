"""What an exchange used and cost, written down exactly once."""
