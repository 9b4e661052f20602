"""How every process tells what it does: JSON logs, metrics, and the link to the node that started it."""
