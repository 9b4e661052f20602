"""
The node: joins sockets, supervisors, fleet and ops port, and takes them down in order.

What starts first ends last: gateways drain while engines and control still serve them, control folds the journal's
last records after that, then the engines end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

from penstock.control import lock as control_lock
from penstock.counters.desk import Desk
from penstock.counters.seats.house import House
from penstock.counters.seats.remote import Doors
from penstock.counters.tally import Tally
from penstock.gateway.cache.host.remote import Doors as FlightDoors
from penstock.gateway.cache.host.tower import Tower
from penstock.http.server import Server
from penstock.node import directory, lock, ops
from penstock.node.engines import ENGINES
from penstock.node.engines.engine import Engine
from penstock.node.fleet import Fleet
from penstock.node.health import Limits
from penstock.node.life import Program, Service
from penstock.node.metrics import Totals
from penstock.node.settings import Commands, HostPort, NodeSettings, Started
from penstock.node.sockets import listen_tcp, listen_tcp_for, listen_unix
from penstock.node.standings import Ledger
from penstock.node.supervisor import Supervisor
from penstock.node.uplink import Uplink
from penstock.snapshot.config import Config
from penstock.snapshot.file import Reader, UnknownFormat, withdraw
from penstock.snapshot.standings import Standings
from penstock.types.errors import StartError

_log = logging.getLogger(__name__)

_GATEWAY_GRACE_S = 5.0  # on top of the drain, to flush and leave
_CONTROL_S = 15.0  # to fold the journal's last records
_OPS_S = 1.0
_DESCRIPTORS = 65_536
_LOOK_S = 0.05
_FOLLOWED_S = 0.2  # gateways look for a new fleet every 0.1 s: when we say ready, their /readyz is to say so too
_AFTER_CRASH_S = 3.0  # children of a killed node may hold its ports for a second


async def run(
    settings: NodeSettings, *, engines: Mapping[str, Engine] = ENGINES, commands: Commands | None = None
) -> int:
    """
    Be the node of `settings.home` until SIGTERM or SIGINT; a second signal hurries. Returns the exit code.

    Raises:
        StartError: another node uses the directory, a port is taken, a directory cannot be made, or a child says that
            it cannot start.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()
    _raise_descriptor_limit()
    directory.prepare_home(settings.home.root, settings.home.node_lock)
    with lock.hold(settings.home.node_lock) as crashed, _signals(stop, hurry, settings.on_stop):
        node = Node(settings, engines, commands or Commands())
        await node.serve(stop, hurry, _AFTER_CRASH_S if crashed else 0.0)
    return 0


class Node:
    """One per data directory, whose lock the caller holds. `serve` is called once."""

    def __init__(self, settings: NodeSettings, engines: Mapping[str, Engine], commands: Commands) -> None:
        self._settings = settings
        self._commands = commands
        self._totals = Totals()
        self._fleet = Fleet(settings.home, engines, Limits(drain=settings.drain_s)) if settings.roles.engines else None
        self._gateways: list[Supervisor] = []
        self._counters = Desk(Tally(time.monotonic, opening=Ledger(settings.home.snapshot)))
        self._seats = Doors(House(time.monotonic))
        self._flights = FlightDoors(Tower(time.monotonic))
        self._control: Supervisor | None = None
        self._uplink: Uplink | None = None
        self._stopping = False
        self._patience_s = 0.0
        self._hopeless: asyncio.Queue[str] = asyncio.Queue()  # why a child cannot start

    async def serve(self, stop: asyncio.Event, hurry: asyncio.Event, patience_s: float) -> None:
        """
        Run everything until `stop` is set, then end everything; `hurry` shortens the end.

        Args:
            patience_s: how long to wait for ports that are taken, and to try on with children that cannot start.

        Raises:
            StartError: as `run`; everything has ended then.
        """
        settings = self._settings
        self._patience_s = patience_s
        home = settings.home
        for path in (home.snapshot, home.journal, home.run):
            directory.prepare(path)
        withdraw(home.snapshot, Standings)
        for left_behind in home.run.glob("*.sock"):
            left_behind.unlink(missing_ok=True)
        async with AsyncExitStack() as stack:
            if home.run.parent != home.root:
                stack.callback(directory.remove, home.run)
            open_tcp = partial(self._open_tcp, stack, patience_s)
            listen = self._open_data(stack, patience_s) if settings.roles.gateways else ()
            admin = open_tcp(settings.admin, "admin.listen") if settings.roles.control else None
            monitor = open_tcp(settings.ops, "gateway.ops")
            local = _open_unix(stack, home.gateway_socket) if settings.roles.gateways else None
            admin_local = _open_unix(stack, home.admin_socket) if settings.roles.control else None
            started = Started(
                listen=_address(settings.listen, listen[0] if listen else None),
                admin=_address(settings.admin, admin),
                ops=_address(settings.ops, monitor),
                replicas=(),
            )

            if monitor is not None:
                await self._serve_ops(stack, monitor)
            following = await self._follow_fleet(stack)
            linking = await self._follow_control(stack)
            if admin is not None and admin_local is not None:
                self._start_control(admin, admin_local)
                stack.push_async_callback(self._stop_control, hurry)
            if listen and local is not None:
                stack.push_async_callback(self._counters.aclose)
                stack.push_async_callback(self._seats.aclose)
                stack.push_async_callback(self._flights.aclose)
                self._start_gateways(listen, local)
                stack.push_async_callback(self._stop_gateways, hurry, (*listen, local))
            setproctitle("penstock node")
            try:
                await self._until(stop, started, [task for task in (following, linking) if task is not None])
            finally:
                self._stopping = True

    def _open_tcp(
        self, stack: AsyncExitStack, patience_s: float, address: HostPort | None, setting: str
    ) -> socket.socket | None:
        if address is None:
            return None
        return stack.enter_context(listen_tcp(address, self._settings.where(setting), patience_s))

    def _open_data(self, stack: AsyncExitStack, patience_s: float) -> tuple[socket.socket, ...]:
        settings = self._settings
        if settings.listen is None:
            return ()
        where = settings.where("gateway.listen")
        listeners = listen_tcp_for(settings.workers, settings.listen, where, patience_s)
        return tuple(stack.enter_context(listener) for listener in listeners)

    async def _serve_ops(self, stack: AsyncExitStack, listener: socket.socket) -> None:
        handler = ops.Ops(self._situation, self._totals, self._engine_restarts)
        server = Server(handler.answer, ops.refuse, ops.LIMITS)
        await server.listen(listener.dup())
        stack.push_async_callback(server.drain, _OPS_S)

    async def _follow_fleet(self, stack: AsyncExitStack) -> asyncio.Task[None] | None:
        if self._fleet is None:
            return None
        await self._fleet.begin()
        stack.push_async_callback(self._fleet.close)
        following = asyncio.create_task(self._fleet.run(), name="fleet")
        stack.push_async_callback(_cancel, following)
        return following

    async def _follow_control(self, stack: AsyncExitStack) -> asyncio.Task[None] | None:
        """Link up with control elsewhere; a control on this host would fold the journal that is sent there."""
        settings = self._settings
        if settings.join is None:
            return None
        stack.enter_context(control_lock.hold(settings.home.control_lock))
        self._uplink = Uplink(settings.home, settings.join, settings.since_ns, os.environ)
        stack.push_async_callback(self._uplink.close)
        linking = asyncio.create_task(_linked(self._uplink), name="uplink")
        stack.push_async_callback(_cancel, linking)
        return linking

    def _start_control(self, admin: socket.socket, local: socket.socket) -> None:
        command = partial(self._commands.control, self._settings, admin.fileno(), local.fileno())
        self._control = self._supervise(Program("control", command, (admin.fileno(), local.fileno())))

    def _start_gateways(self, listen: Sequence[socket.socket], local: socket.socket) -> None:
        numbers = tuple(listener.fileno() for listener in listen)
        descriptors = (*numbers, local.fileno())
        services: dict[str, Service] = {"counters": self._counters, "seats": self._seats}
        if self._settings.workers > 1:  # else there is nobody to share answers with
            services["flights"] = self._flights
        for index in range(self._settings.workers):
            command = partial(self._commands.gateway, self._settings, index, numbers, local.fileno())
            program = Program(f"gateway {index}", command, descriptors, services)
            self._gateways.append(self._supervise(program))

    def _supervise(self, program: Program) -> Supervisor:
        return Supervisor(
            program,
            self._totals,
            self._settings.on_notice,
            gave_up=self._hopeless.put_nowait,
            patience_s=self._patience_s,
        )

    async def _until(self, stop: asyncio.Event, started: Started, loops: Sequence[asyncio.Task[None]]) -> None:
        """Return when `stop` is set; raise what ended another task, should that happen."""
        stopping = asyncio.create_task(stop.wait(), name="stop")
        announcing = asyncio.create_task(self._announce(started), name="announce")
        failing = asyncio.create_task(self._fail(), name="fail")
        waiting: set[asyncio.Task[Any]] = {stopping, announcing, failing, *loops}
        try:
            while not stopping.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in (stopping, announcing, failing):
                await _cancel(task)

    async def _fail(self) -> None:
        """Raise StartError when a child cannot start and never has."""
        raise StartError(await self._hopeless.get())

    async def _announce(self, started: Started) -> None:
        """Say once that everything is ready."""
        while not self._ready():  # noqa: ASYNC110  # what it looks at has no event in common
            await asyncio.sleep(_LOOK_S)
        if self._fleet is not None and self._gateways:
            await asyncio.sleep(_FOLLOWED_S)
        replicas = self._fleet.replicas if self._fleet else ()
        self._settings.on_ready(Started(started.listen, started.admin, started.ops, replicas))

    def _ready(self) -> bool:
        supervisors = [*self._gateways, *([self._control] if self._control else [])]
        # The fleet comes last: control publishes what it desires before it says that it is ready.
        return all(each.status.ready for each in supervisors) and (self._fleet is None or self._fleet.settled)

    async def _stop_gateways(self, hurry: asyncio.Event, listeners: tuple[socket.socket, ...]) -> None:
        """
        Drain all workers at once. Our copies of their listeners go first: when the last worker closes its own, new
        connections are refused, where they would otherwise wait for nobody.
        """
        for gateway in self._gateways:
            gateway.hold()
        for listener in listeners:
            listener.close()
        limit_s = self._drain_s() + _GATEWAY_GRACE_S
        await asyncio.gather(*(gateway.stop(limit_s, hurry) for gateway in self._gateways))

    def _drain_s(self) -> float:
        """Return how long gateways may take, as they know it: what is published now, not what we started with."""
        with contextlib.suppress(UnknownFormat):
            config = Reader(self._settings.home.snapshot, Config).changed()
            if config is not None:
                return config.gateway.notice_s + config.gateway.drain_s
        return self._settings.drain_s

    async def _stop_control(self, hurry: asyncio.Event) -> None:
        if self._control is not None:
            await self._control.stop(_CONTROL_S, hurry)

    def _situation(self) -> ops.Situation:
        roles = self._settings.roles
        return ops.Situation(
            gateways=tuple(gateway.status for gateway in self._gateways) if roles.gateways else None,
            control=self._control.status if self._control else None,
            wanted=self._fleet.wanted if self._fleet else (),
            replicas=self._fleet.replicas if self._fleet else (),
            stopping=self._stopping,
            informed=self._fleet is None or self._fleet.informed,
            uplink=self._uplink.connection if self._uplink else None,
        )

    def _engine_restarts(self) -> list[tuple[str, int]]:
        return sorted(self._fleet.restarts.items()) if self._fleet else []


def _open_unix(stack: AsyncExitStack, path: Path) -> socket.socket:
    listener = stack.enter_context(listen_unix(path))
    stack.callback(path.unlink, missing_ok=True)
    return listener


def _address(asked: HostPort | None, listener: socket.socket | None) -> HostPort | None:
    """The address as it was asked for, with the port that it has."""
    if asked is None or listener is None:
        return None
    port: int = listener.getsockname()[1]
    return asked[0], port


async def _linked(uplink: Uplink) -> None:
    """Run the link; the node wants the one error that ends it by itself."""
    try:
        await uplink.run()
    except* StartError as errors:
        raise StartError(str(errors.exceptions[0])) from errors


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})


def _raise_descriptor_limit() -> None:
    """Let us and our children open as many descriptors as we may: each connection takes one or two."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def _signals(stop: asyncio.Event, hurry: asyncio.Event, on_stop: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Set `stop` at the first signal to end, `hurry` at the second; a SIGHUP that is ignored (nohup) stays so."""

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            hurry.set()
        else:
            on_stop(number)
        _log.info("stopping", extra={"fields": {"signal": number.name, "hurry": hurry.is_set()}})
        stop.set()

    loop = asyncio.get_running_loop()
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            with contextlib.suppress(ValueError):
                loop.remove_signal_handler(number)
