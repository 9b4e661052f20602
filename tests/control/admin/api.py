"""A whole admin API in this process: real database, real files, real application; only the sockets are left out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
from fastapi import FastAPI

from penstock.control.admin.access import Credentials, Door
from penstock.control.admin.app import Parts, build
from penstock.control.bulletin import Bulletin
from penstock.control.fold import Fold
from penstock.control.hosts import Hosts
from penstock.control.keys import Keys
from penstock.control.publish import Published
from penstock.control.reconcile import Reconciler
from penstock.journal.records import Record
from penstock.journal.segment import Writer
from penstock.records.database import Database
from penstock.records.hosts import Host
from penstock.snapshot.config import Config
from penstock.snapshot.fleet import Desired
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals
from penstock.stack.watch import Watch
from penstock.types.home import Home

HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
HOST = "00000000c0de"
SECRET = b"p" * 32
NONCE = "this control"
FIRST_KEY = "a key that the environment sets"


class Api:
    """
    Attributes:
        local: a client on the Unix socket.
        tcp: a client on the TCP port, without a key.
        journal: what a gateway worker writes.
    """

    def __init__(self, home: Home, app: FastAPI, keys: Keys, hosts: Hosts, bulletin: Bulletin) -> None:
        self.home = home
        self.app = app
        self.keys = keys
        self.hosts = hosts
        self.bulletin = bulletin
        self.journal = Writer(home.journal, "0")
        self.local = self._client(Door(app, None))
        self.tcp = self._client(Door(app, Credentials(keys, FIRST_KEY), HOSTS))

    @staticmethod
    def _client(door: Door) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(door, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost:8081")

    async def get(self, path: str) -> Any:
        response = await self.local.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    def silence(self, *ids: str) -> None:
        """Let these hosts elsewhere, or all, have been silent for long."""
        for host in list(self.hosts.known.values()):
            if host.id in ids or not ids:
                self.hosts.known[host.id] = msgspec.structs.replace(host, seen_at_ns=0)

    def write(self, *records: Record) -> None:
        for record in records:
            self.journal.append(record)


def with_api(directory: Path, case: Callable[[Api], Awaitable[None]], stack: Path | None = None) -> None:
    async def whole() -> None:
        home = Home(directory)
        for path in (home.snapshot, home.journal):
            path.mkdir()
        database = await Database.open(home.database)
        try:
            principals, base = Published(home.snapshot, Principals), Published(home.snapshot, PackedPrincipals)
            keys = await Keys.open(database, principals, base, SECRET, lambda: 1_700_000_000 * 10**9)
            reconciler = Reconciler(
                Watch(stack, {}, directory),
                Published(home.snapshot, Config),
                Published(home.snapshot, Desired),
                None,
                lambda: 1_700_000_000.0,
            )
            await reconciler.start()
            fold = Fold(home.journal, database, host=HOST)
            own = Host(HOST, "control", "1.0", 1_600_000_000 * 10**9, time.time_ns())
            hosts = await Hosts.open(database, fold, own, nonce=NONCE)
            bulletin = Bulletin(home.snapshot, SECRET)
            parts = Parts(home, str(stack or "built-in"), database, keys, fold, reconciler, hosts, bulletin)
            api = Api(home, build(parts), keys, hosts, bulletin)
            try:
                async with api.local, api.tcp:
                    await case(api)
            finally:
                api.journal.close()
        finally:
            await database.close()

    asyncio.run(whole())


def error_of(response: httpx.Response) -> dict[str, Any]:
    """Return the error in an answer, checking that it has the shape of all our errors."""
    body = response.json()
    assert list(body) == ["error"]
    error: dict[str, Any] = body["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert error["message"]
    return error
