"""Real servers for tests. What is not installed skips the tests that need it."""

from __future__ import annotations

import pytest
from redis import Redis

from penstock.lab import servers
from penstock.types.errors import StartError


class RedisServer(servers.RedisServer):
    """A Redis that keeps nothing over a restart; a context manager."""

    def __init__(self) -> None:
        try:
            super().__init__()
        except StartError as error:
            pytest.skip(str(error))

    def client(self, password: str | None = None) -> Redis:
        """Return a client, to be closed."""
        return Redis(port=self.port, password=password, decode_responses=True, socket_timeout=30)


class PostgresServer(servers.PostgresServer):
    """A PostgreSQL; a context manager."""

    def __init__(self) -> None:
        try:
            super().__init__()
        except StartError as error:
            pytest.skip(str(error))
