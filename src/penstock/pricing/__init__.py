"""Prices and the arithmetic of cost, in integers throughout."""
