"""Penstock runs large language models in production: a gateway, a control plane, and the engines between them."""

__version__ = "0.1.0"
