"""Limits that several workers and hosts share: what is counted, who counts it, and leases so that few must ask."""
