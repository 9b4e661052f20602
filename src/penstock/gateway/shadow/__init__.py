"""Copies of exchanges that go to another deployment, so that its answers can be compared."""
