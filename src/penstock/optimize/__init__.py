"""Offline tools: what measures and changes models. The data plane never imports this."""
