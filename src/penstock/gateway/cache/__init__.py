"""Answers that are kept and given again to the same tenant for the same request."""
