"""What proves to an upstream who asks, where a ready-made header line would not do: signatures and expiring tokens."""
