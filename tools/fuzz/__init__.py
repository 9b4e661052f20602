"""`make fuzz`: random input, guided by coverage, for everything that reads HTTP, events and JSON from strangers."""
