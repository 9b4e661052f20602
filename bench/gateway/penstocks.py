"""Penstock as a user runs it, with everything taken away but HTTP, and with that taken away too."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.gateway import process, traffic
from bench.gateway.errors import Unavailable
from bench.gateway.probe import ask
from bench.gateway.serving import Launch, Place, Serving, launched
from bench.stack import stack_text
from penstock import __version__
from penstock.lab.running import free_port, start
from penstock.lab.servers import PostgresServer, RedisServer
from penstock.types.errors import StartError

_WORKER = "penstock gateway"
_DIRECT = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}  # no proxy between gateway and upstream


# Eight limits and three budgets, none of which is reached.
_POLICIES = """\
policies:
  all:
    limits:
      - {per: key, requests_per_minute: 1000000000, tokens_per_minute: 1000000000000, concurrency: 4096}
      - {per: tenant, requests_per_minute: 1000000000, tokens_per_minute: 1000000000000, concurrency: 4096}
      - {per: model, requests_per_minute: 1000000000, tokens_per_minute: 1000000000000}
    budgets:
      - {per: key, amount_usd: 1000000, period: month}
      - {per: tenant, amount_usd: 1000000, period: month}
      - {per: model, amount_usd: 1000000, period: total}
"""
_CACHE = "    cache: {ttl: 1m}\n"
_SHARED = 'state: {counters: "${REDIS_URL}", database: "${DATABASE_URL}"}\n'


class Everything:
    """
    `penstock up`: its gateway worker on the gateway's core, node and control beside it on another.

    Args:
        limits: with eight limits and three budgets.
        shared: which a Redis counts, with the ledger in a PostgreSQL; both on the load's core.
        routed: with these, an exact cache that never has the answer, and three targets whose weights adapt.
    """

    rust = False

    def __init__(
        self, name: str, title: str, about: str, *, limits: bool = False, shared: bool = False, routed: bool = False
    ) -> None:
        self.name = name
        self.title = title
        self.about = f"{__version__}: {about}"
        self._limits = limits
        self._shared = shared
        self._routed = routed

    def install(self) -> None:
        """It is here."""

    @contextlib.contextmanager
    def serve(self, place: Place) -> Iterator[Serving]:
        """Run `penstock up` for the time of a block. Raises Unavailable."""
        with contextlib.ExitStack() as opened:
            environ = dict(_DIRECT)
            stack = stack_text(
                f"http://127.0.0.1:{place.upstream_port}",
                targets=3 if self._routed else 1,
                model=(", policies: all" if self._limits else "") + (", weights: adaptive" if self._routed else ""),
            )
            stack += (_POLICIES if self._limits else "") + (_CACHE if self._routed else "")
            if self._shared:
                with process.pinned(place.side):
                    redis, postgres = opened.enter_context(RedisServer()), opened.enter_context(PostgresServer())
                environ |= {"REDIS_URL": redis.url, "DATABASE_URL": postgres.url(postgres.make())}
                stack += _SHARED
            began = time.monotonic()
            try:
                with process.pinned(place.core):
                    running = opened.enter_context(start(place.directory / "home", stack, environ=environ))
            except StartError as error:
                raise Unavailable(str(error)) from error
            port = int(running.url.rpartition(":")[2])
            headers = f"authorization: Bearer {running.key}\r\n".encode()
            answer = ask(port, traffic.prepare("chat", headers)[0].whole(0))
            if not answer.startswith(b"HTTP/1.1 200"):
                raise Unavailable(f"answered {answer[:200]!r}")
            ready_s = time.monotonic() - began
            family = running.processes()
            workers = tuple(each.pid for each in family if each.title.startswith(_WORKER))
            beside = (running.process.pid, *(each.pid for each in family if each.pid not in workers))
            for pid in beside:
                process.move(pid, place.side)
                process.yield_to_others(pid)  # else writing the ledger would take the core from load and upstream
            yield Serving(port, "chat", headers, workers, ready_s, beside, _age_s(workers[0]))


class Part:
    """
    Less than a gateway: a module of this package that takes a port and the upstream's port, in a process of its own.

    Attributes:
        module: its name in `bench.gateway`.
    """

    rust = False

    def __init__(self, name: str, title: str, module: str, about: str) -> None:
        self.name = name
        self.title = title
        self.module = module
        self.about = about

    def install(self) -> None:
        """It is here."""

    @contextlib.contextmanager
    def serve(self, place: Place) -> Iterator[Serving]:
        """Run it for the time of a block. Raises Unavailable."""
        port = free_port()
        command = [sys.executable, "-m", f"bench.gateway.{self.module}", str(port), str(place.upstream_port)]
        with launched(Launch(command, port, environ={"PYTHONPATH": str(process.ROOT)}), place) as serving:
            yield serving


_WORKER_ALONE = "one worker of `penstock up`; node and control on the load's core, behind the load (SCHED_IDLE)"
EVERYTHING = (
    Everything("penstock", "**Penstock, everything on**", _WORKER_ALONE),
    Everything(
        "penstock-limits",
        "Penstock, eight limits and three budgets",
        "the same, with limits and budgets that the node counts",
        limits=True,
    ),
    Everything(
        "penstock-shared",
        "Penstock, these over Redis and PostgreSQL",
        "the same, counted by a Redis and kept in a PostgreSQL, both on the load's core",
        limits=True,
        shared=True,
    ),
    Everything(
        "penstock-routed",
        "Penstock, limits, a cache, three targets",
        "limits and budgets that the node counts, an exact cache that never has the answer, three targets whose "
        "weights adapt",
        limits=True,
        routed=True,
    ),
)

PARTS = (
    Part(
        "copying",
        "uvloop, bytes copied",
        "copying",
        "a connection to the upstream for each of a client, nothing of it read",
    ),
    Part(
        "penstock-bare",
        "Penstock, bare",
        "bare",
        f"{__version__}: `penstock.http` server and pool with JSON decoding between them; no keys, no metering",
    ),
)


def _age_s(pid: int) -> float:
    """Return for how long a process has run, to the kernel's hundredth of a second."""
    ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
