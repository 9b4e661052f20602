"""Seats of deployments, shared by the workers of a host, and the line of those who wait for one."""
