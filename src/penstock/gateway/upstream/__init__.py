"""Engines and providers: where they are, how they are spoken to, and which of their replicas can take an exchange."""
