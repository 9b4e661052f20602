"""What balancing by prompts and by sessions is worth: simulated on a trace, measured on real engines, and its cost."""
