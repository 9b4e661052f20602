"""`make bench-gateway`: gateways side by side, the gateway on one core, load and upstream on another."""
