"""From a client's dialect to an upstream's and back, one module per pair."""
