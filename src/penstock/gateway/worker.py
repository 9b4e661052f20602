"""The gateway process: inherited sockets in, documents followed, exchanges served, everything drained at the end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import setproctitle
import uvloop

from penstock.auth import pepper
from penstock.auth.secrets import SecretRef, resolve
from penstock.counters.counter import Store
from penstock.counters.leases import SWEEP_S
from penstock.counters.local import Local
from penstock.counters.remote import Remote
from penstock.counters.seats.house import House
from penstock.counters.seats.remote import remote
from penstock.counters.seats.usher import Usher, local
from penstock.counters.shared import Shared
from penstock.counters.tally import Tally
from penstock.gateway.admission.admission import Admission
from penstock.gateway.admission.counting import Counting, Elsewhere
from penstock.gateway.admission.decisions import Decisions
from penstock.gateway.cache.exact import ExactCache
from penstock.gateway.cache.host import remote as host_flights
from penstock.gateway.cache.host.pilot import Pilot
from penstock.gateway.cache.redis import Redis
from penstock.gateway.cache.shelf import Shelf
from penstock.gateway.documents import Documents
from penstock.gateway.identity.caller import Callers
from penstock.gateway.metering.account import Books, TakesLines
from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.metering.metrics import Metrics
from penstock.gateway.metering.queues import Queues
from penstock.gateway.serve import Gateway, serve
from penstock.gateway.shadow.shadows import Shadows
from penstock.gateway.upstream.attempt import Dispatcher
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.view import View, compile_view
from penstock.http.limits import Limits
from penstock.http.neighbours import Neighbours
from penstock.http.server import Server
from penstock.http.tls import ServerTls
from penstock.journal import host
from penstock.journal.segment import Writer
from penstock.snapshot.config import Config
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals
from penstock.telemetry import log
from penstock.telemetry.families import Families, families, gauge
from penstock.telemetry.link import CANNOT_START, Leaving, Link, Ready
from penstock.telemetry.link import Metrics as MetricsMessage
from penstock.telemetry.parent import OPTION
from penstock.types.errors import PenstockError
from penstock.types.home import Home

_log = logging.getLogger("penstock.gateway")
_TICK_S = SWEEP_S
_RESTING_S = 0.5  # idle connections of a worker that leaves: longer than a request is under way to it
_METRICS_S = 1.0
_METRICS_SHARE = 50.0  # of the time that collecting takes, at least: 2 % of a core at the most


class Arguments(msgspec.Struct, frozen=True):
    """
    What a worker is started with; descriptors are -1 where there is none.

    Attributes:
        others: the listeners of the other workers.
        counters: where the limits are counted for all workers; without it this one counts for itself.
        seats: where the seats of deployments are kept for all workers; without it this one keeps them itself.
        flights: where equal requests of all workers meet; without it those of this one do.
    """

    home: Home
    index: int
    listen: int
    local: int
    link: int
    others: tuple[int, ...] = ()
    counters: int = -1
    seats: int = -1
    flights: int = -1


class Worker:
    """
    One gateway process from start to drain.

    Raises:
        PenstockError: it cannot start: the secret, the certificate, the journal.
    """

    def __init__(
        self,
        arguments: Arguments,
        link: Link | None,
        here: Store,
        usher: Usher,
        pilot: Pilot | None = None,
        line: TakesLines | None = None,
    ) -> None:
        secret = pepper.load(arguments.home.root, os.environ)
        self._arguments = arguments
        self._documents = Documents(arguments.home)
        self._metrics = Metrics()
        here_name = host.load(arguments.home.root)
        name = host.writer_name(here_name, f"gateway-{arguments.index}")
        self._journal = Writer(arguments.home.journal, name)
        self._endpoints = Endpoints(os.environ, time.monotonic)
        self._callers = Callers({})
        self._told: tuple[Principals | None, PackedPrincipals | None] = (None, None)  # what these were made of
        self._compiled: Config | None = None  # the last configuration that could be compiled
        # Not the loop's time: that of uvloop is in whole milliseconds.
        books = Books(self._journal, self._metrics, time.monotonic, line)
        self._admission = Admission(here, Decisions(self._metrics.registry), time.monotonic)
        self._counting = Counting(here, self._connect, self._admission.use)
        self._seating = Seating(usher, Queues(self._metrics.registry, usher.waiting), time.monotonic)
        self._shelf = Shelf(
            lambda reference: Redis.begin(partial(resolve, reference, os.environ), host=here_name), time.time
        )
        cache = ExactCache(self._shelf, self._metrics.registry, secret, time.monotonic, time.time, pilot)
        attempts = Attempts(self._metrics.registry)
        dispatcher = Dispatcher(self._seating, attempts, time.monotonic, random.random)
        self._shadows = Shadows(books, dispatcher, time.monotonic)
        self._gateway = Gateway(books, self._admission, cache, dispatcher, self._shadows, secret, time.monotonic)
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._server: Server | None = None
        self._neighbours: Neighbours | None = None
        self._link = link
        self._metrics_due = 0.0

    async def run(self) -> None:
        """Serve until told to stop, then drain."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        config = await self._first_config()
        if config is None:
            return
        gc.collect()
        gc.freeze()  # what has been imported and made so far stays, and is not to be looked through again and again
        self._server = server = await self._listen(config)
        ticker = asyncio.create_task(self._tick(), name="tick")
        if self._link:
            self._link.send(Ready())
        try:
            await self._stop.wait()
            if self._link:
                self._link.send(Leaving())
            self._gateway.draining = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._gateway.view.settings.notice_s):
                    await self._hurry.wait()
            if self._neighbours is not None:
                await self._neighbours.aclose()
            await self._shadows.aclose()
            cut = await self._drain(server)
            if cut:
                _log.warning("exchanges cut by the drain limit", extra={"fields": {"count": cut}})
        finally:
            ticker.cancel()
            self._admission.close()
            await self._counting.aclose()
            await self._shelf.aclose()
            await self._endpoints.aclose()
            self._journal.close()
            self._send_metrics()
            if self._link:
                self._link.close()

    def _told_to_stop(self) -> None:
        """Drain at the first signal; at the second, cut and settle what is still in progress."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def _drain(self, server: Server) -> int:
        """Drain the server, at once when hurried; return how many exchanges were cut."""
        draining = asyncio.create_task(server.drain(self._gateway.view.settings.drain_s, _RESTING_S), name="drain")
        hurried = asyncio.create_task(self._hurry.wait(), name="hurry")
        try:
            await asyncio.wait({draining, hurried}, return_when=asyncio.FIRST_COMPLETED)
            cut = 0 if draining.done() else await server.drain(0)
            return max(cut, await draining)
        finally:
            hurried.cancel()

    async def _first_config(self) -> Config | None:
        """Wait for the first configuration and keys; clients that connect meanwhile wait in the listener's queue."""
        while not self._stop.is_set():
            self._follow()
            if self._documents.config is not None and self._documents.callers is not None:
                return self._documents.config
            await asyncio.sleep(_TICK_S)
        return None

    async def _listen(self, config: Config) -> Server:
        settings = config.gateway
        server = Server(partial(serve, self._gateway), self._gateway.refuse, Limits(max_body=settings.max_body))
        tls = ServerTls(Path(settings.tls.certificate), Path(settings.tls.key)) if settings.tls else None
        if self._arguments.listen >= 0:
            await server.listen(socket.socket(fileno=self._arguments.listen), tls=tls)
        self._neighbours = Neighbours(server, [socket.socket(fileno=each) for each in self._arguments.others], tls)
        if self._arguments.local >= 0:
            await server.listen(socket.socket(fileno=self._arguments.local), local=True)
        return server

    async def _tick(self) -> None:
        """Everything periodic, from one timer: deadlines of the pools, documents, metrics."""
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                self._endpoints.sweep()
                self._admission.sweep()
                self._seating.sweep()
                self._gateway.dispatcher.choosing.sweep()
                self._gateway.cache.sweep()
                self._follow()
                if self._neighbours is not None:
                    self._neighbours.look()
                if time.monotonic() >= self._metrics_due:
                    self._send_metrics()
            except Exception:  # noqa: BLE001  # the timer must outlive any one fault, and the log says which it was
                _log.exception("tick failed")

    def _follow(self) -> None:
        """Prepare a new view when a document is new; only then swap it in."""
        documents = self._documents
        if not documents.refresh() or documents.config is None:
            return
        self._counting.follow(documents.config.gateway.counters)
        told = documents.principals, documents.base
        if any(new is not old for new, old in zip(told, self._told, strict=True)):
            self._told, self._callers = told, documents.callers or self._callers
        try:
            view = self._compile(documents.config)
            self._compiled = documents.config
        except Exception:
            if self._compiled is None:
                raise
            _log.exception("a configuration cannot be used; the one before stays")
            view = self._compile(self._compiled)
        self._gateway.follow(view)
        if self._server is not None:  # for connections made from now on
            self._server.limits = Limits(max_body=view.settings.max_body)

    def _compile(self, config: Config) -> View:
        return compile_view(config, self._callers, self._documents.fleet, self._endpoints, os.environ)

    def _connect(self, reference: SecretRef) -> Elsewhere:
        journal = self._journal
        return Shared.begin(
            lambda: resolve(reference, os.environ), journal.name, lambda: journal.position, time.monotonic
        )

    def _send_metrics(self) -> None:
        """Send all samples. Made in proportion rarer when collecting them takes long."""
        if self._link is None:
            return
        began = time.monotonic()
        for part in families(self._metrics.registry):
            self._link.send(MetricsMessage(part))
        self._link.send(MetricsMessage(self._levels()))
        now = time.monotonic()
        self._metrics_due = now + max(_METRICS_S, _METRICS_SHARE * (now - began))

    def _levels(self) -> Families:
        """What is to come back to where it was when all is quiet: what leaks shows here."""
        server = self._server
        return [
            gauge("penstock_tasks", "Tasks of the event loop.", len(asyncio.all_tasks())),
            gauge("penstock_connections", "Open connections of clients.", server.connections if server else 0),
            gauge("penstock_slots_in_use", "Requests to deployments in progress.", self._endpoints.outstanding),
        ]


async def _run(arguments: Arguments, line: TakesLines | None) -> None:
    link = await Link.open(arguments.link, _node_gone) if arguments.link >= 0 else None
    store: Store = Local(Tally(time.monotonic))
    if arguments.counters >= 0:
        store = await Remote.open(socket.socket(fileno=arguments.counters), time.monotonic, on_gone=_node_gone)
    usher = local(House(time.monotonic), time.monotonic)
    if arguments.seats >= 0:
        usher = await remote(socket.socket(fileno=arguments.seats), time.monotonic, on_gone=_node_gone)
    pilot: Pilot | None = None
    if arguments.flights >= 0:
        sock = socket.socket(fileno=arguments.flights)
        pilot = await host_flights.remote(sock, time.monotonic, on_gone=_node_gone)
    with link.reporting() if link is not None else contextlib.nullcontext():
        await Worker(arguments, link, store, usher, pilot, line).run()


def _node_gone() -> None:
    _log.warning("the node has ended; leaving")
    os._exit(1)  # at once: whatever would be flushed is already in the journal


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `python -m penstock.gateway`."""
    parser = argparse.ArgumentParser(prog="penstock.gateway")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument(OPTION, type=int, help="process to end with; heeded before this is parsed")
    descriptors = ("listen", "local", "link", "counters", "seats", "flights")
    for name in descriptors:
        parser.add_argument(f"--{name}", type=int, default=-1)
    parser.add_argument("--others", default="", help="descriptors, between commas")
    given = parser.parse_args(argv)
    others = tuple(int(number) for number in given.others.split(",") if number)
    taken = {name: getattr(given, name) for name in descriptors}
    arguments = Arguments(Home(given.home), given.index, others=others, **taken)
    setproctitle.setproctitle(f"penstock gateway {arguments.index}")
    handler = log.configure(f"gateway {arguments.index}")

    try:
        uvloop.run(
            _run(arguments, handler.lines("penstock.exchange", "exchange") if _log.isEnabledFor(logging.INFO) else None)
        )
    except PenstockError as error:
        _log.error("%s", error)
        return CANNOT_START
    finally:
        handler.close()
    return 0
