"""Servers that many tests share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from penstock.records.database import Database
from tests.servers import PostgresServer, RedisServer

Opener = Callable[[], Awaitable[Database]]
"""Opens the database of a test, as often as it is called."""


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis for all tests, none of which ends or freezes it."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(redis_server: RedisServer) -> RedisServer:
    """The Redis of all tests, empty."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests, none of which ends or freezes it."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> str:
    """The address of an empty database."""
    return postgres_server.url(postgres_server.make())


@pytest.fixture(params=["sqlite", "postgresql"])
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """A database of either kind, empty at first."""
    if request.param == "sqlite":
        return lambda: Database.open(tmp_path / "p.db")
    url = request.getfixturevalue("postgres")
    return lambda: Database.connect(url)
