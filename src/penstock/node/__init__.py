"""The node: it owns this host's listening sockets and child processes, and is small and never busy."""
