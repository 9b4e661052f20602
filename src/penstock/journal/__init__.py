"""What gateways tell control: an append-only file per worker, one checksummed record per write."""
