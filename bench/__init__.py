"""Benchmarks and soaks. Each runs from the repository's root as `python -m bench.NAME`."""
