"""Who owns what upstreams keep for a tenant, or seal for one: told by tags on the names of it, and by no store."""
