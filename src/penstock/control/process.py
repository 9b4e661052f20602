"""The control process: what it opens, in which order, and how it ends."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import uvloop
from setproctitle import setproctitle
from starlette.types import ASGIApp

from penstock import __version__
from penstock.auth import pepper
from penstock.auth.roles import Role
from penstock.auth.secrets import SecretMissing, SecretRef, resolve
from penstock.control import lock
from penstock.control.admin import app as admin
from penstock.control.admin import errors
from penstock.control.admin.access import Credentials, Door, hosts_of, key_from
from penstock.control.bulletin import Bulletin
from penstock.control.fold import Fold
from penstock.control.hosts import Hosts
from penstock.control.keys import Keys, Scope
from penstock.control.publish import Published
from penstock.control.reconcile import Reconciler
from penstock.control.serve import serve
from penstock.control.shared_standings import SharedBookkeeper
from penstock.control.standings import Bookkeeper
from penstock.journal import host
from penstock.records.database import Database
from penstock.records.hosts import Host
from penstock.records.keys import ALL_TENANTS, KeyKind
from penstock.records.postgres import Leadership
from penstock.snapshot.config import Config
from penstock.snapshot.fleet import Desired
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals
from penstock.snapshot.standings import Standings
from penstock.stack.watch import Watch
from penstock.telemetry import log
from penstock.telemetry.link import CANNOT_START, Link, Notice, Ready
from penstock.telemetry.parent import OPTION
from penstock.types.errors import PenstockError, StartError
from penstock.types.home import Home

_NONE = -1  # in place of a descriptor
_SOON_S = 0.5  # for the database to answer, before whoever asks is told to come again
_FIRST_FOLD_S = 5.0  # what is ready without it answers everything that no budget is for
_LAST_FOLD_S = 5.0

_log = logging.getLogger(__name__)


class Options(msgspec.Struct, frozen=True):
    """
    How control was started.

    Attributes:
        stack: the stack file; None for the built-in stack.
        admin, local, link: inherited descriptors (the admin port, its Unix socket, the link to the node), or -1.
        workers: gateway workers that the node runs; None: as many as the stack says.
        since_ns: when the node started, nanoseconds since the epoch.
        database: where the address of the database is; None for a file in the data directory.
        admin_tls: paths of the admin port's certificate chain and key; None: it is served in the clear.
    """

    home: Home
    stack: Path | None
    admin: int
    local: int
    link: int
    workers: int | None
    since_ns: int = 0
    database: SecretRef | None = None
    admin_tls: tuple[str, str] | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run control until it is told to stop; return the exit status."""
    options = _parse(arguments)
    setproctitle("penstock control")
    os.umask(0o077)
    handler = log.configure("control")
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(options, os.environ))
    except PenstockError as error:
        _log.critical("%s", error)
        return CANNOT_START
    except Exception:  # noqa: BLE001  # the end of this process, with its reason in the log
        _log.critical("control failed", exc_info=True)
        return 1
    finally:
        handler.close()
    return 0


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="penstock.control", description="The control process; a node starts it.")
    parser.add_argument("--home", type=Path, required=True, help="the data directory")
    parser.add_argument("--stack", default="", help="the stack file; empty for the built-in stack")
    parser.add_argument("--admin", type=int, default=_NONE, help="descriptor of the listening admin port")
    parser.add_argument("--local", type=int, default=_NONE, help="descriptor of the listening Unix socket")
    parser.add_argument("--link", type=int, default=_NONE, help="descriptor of the link to the node")
    parser.add_argument(OPTION, type=int, help="process to end with; heeded before this is parsed")
    parser.add_argument("--workers", type=int, default=None, help="gateway workers that the node runs")
    parser.add_argument("--since", type=int, default=0, help="when the node started, nanoseconds since the epoch")
    parser.add_argument("--database", type=_reference, help="where the address of a PostgreSQL is, JSON")
    parser.add_argument("--admin-tls", nargs=2, help="PEM files of the admin port's certificate chain and key")
    given = parser.parse_args(arguments)
    stack = Path(given.stack) if given.stack else None
    home = Home(given.home.absolute())
    return Options(
        home=home,
        stack=stack,
        admin=given.admin,
        local=given.local,
        link=given.link,
        workers=given.workers,
        since_ns=given.since,
        database=given.database,
        admin_tls=tuple(given.admin_tls) if given.admin_tls else None,
    )


async def _run(options: Options, environ: Mapping[str, str]) -> None:
    home = options.home
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as opened:
        link = None
        if options.link != _NONE:
            link = await Link.open(options.link, _leave)
            opened.callback(link.close)
            opened.enter_context(link.reporting())
        admin_key = key_from(environ)
        _make_directories(home)
        opened.enter_context(lock.hold(home.control_lock))
        secret = pepper.load(home.root, environ)
        database = await _database(options, environ, stop)
        if database is None:
            return
        opened.push_async_callback(database.close)
        # Later than those of a control that led before us on another host, whose documents gateways may have.
        least = int(time.time())
        principals = Published(home.snapshot, Principals, least)
        base = Published(home.snapshot, PackedPrincipals, least)
        keys = await Keys.open(database, principals, base, secret, time.time_ns)
        shared = SharedBookkeeper(database, environ)
        opened.push_async_callback(shared.aclose)
        here = host.load(home.root)
        fold = Fold(home.journal, database, shared, here)
        own = Host(here, socket.gethostname(), __version__, options.since_ns, time.time_ns())
        hosts, bulletin = await Hosts.open(database, fold, own), Bulletin(home.snapshot, secret)
        standings = Published(home.snapshot, Standings)
        config = Published(home.snapshot, Config)
        bookkeeper = Bookkeeper(home.journal, fold, database, standings, options.since_ns, config.current)

        async def prepare(config: Config) -> None:
            await bookkeeper.prepare(config)
            await shared.prepare(fold, config)

        reconciler = Reconciler(
            Watch(options.stack, environ, Path.cwd()),
            config,
            Published(home.snapshot, Desired),
            options.workers,
            time.time,
            prepare,
        )
        await reconciler.start()
        await _make_first_keys(keys, link, admin=admin_key is None)
        opened.push_async_callback(_fold_last, fold)  # once nothing is answered any more
        source = str(options.stack.absolute()) if options.stack is not None else "built-in"
        kept = pepper.kept(home.root, environ)
        app = admin.build(
            admin.Parts(home, source, database, keys, fold, reconciler, hosts, bulletin, kept, lambda: shared.problem)
        )
        credentials = Credentials(keys, admin_key)
        await opened.enter_async_context(serve(_doors(options, app, credentials), options.admin_tls))
        opened.callback(bulletin.close)
        async with asyncio.TaskGroup() as tasks:
            loops = [
                tasks.create_task(fold.run(), name="fold"),
                tasks.create_task(reconciler.run(), name="reconcile"),
                tasks.create_task(keys.run(), name="keys"),
                tasks.create_task(bookkeeper.run(lambda: reconciler.config), name="standings"),
                tasks.create_task(shared.run(fold, lambda: reconciler.config), name="shared standings"),
            ]
            if database.leadership is not None:
                loops.append(tasks.create_task(_lead(database.leadership), name="leadership"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_FOLD_S):
                    await bookkeeper.told.wait()
                    await shared.told.wait()
            if link is not None:
                link.send(Ready())
            _log.info("control serves")
            await stop.wait()
            for loop in loops:
                loop.cancel()


def _reference(text: str) -> SecretRef:
    return msgspec.json.decode(text, type=SecretRef)


async def _database(options: Options, environ: Mapping[str, str], stop: asyncio.Event) -> Database | None:
    """Return the database; None when we are stopped while another control leads."""
    if options.database is None:
        return await Database.open(options.home.database)
    try:
        url = resolve(options.database, environ)
    except SecretMissing as error:
        raise StartError(f"the address of the database is missing: {error}") from None
    connecting = asyncio.create_task(Database.connect(url), name="connect")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({connecting, stopping}, timeout=_SOON_S, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done() and not stopping.done():
            _log.info("waiting for the database, or for another control to end")
            listeners = [
                socket.socket(fileno=os.dup(number)) for number in (options.admin, options.local) if number != _NONE
            ]
            async with serve([(errors.waiting, listener) for listener in listeners], options.admin_tls):
                await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return await connecting if connecting.done() else None
    finally:
        stopping.cancel()
        connecting.cancel()
        await asyncio.wait({connecting})  # so that it closes what it has opened


async def _lead(leadership: Leadership) -> None:
    """End at once when another control may lead: whatever we go on with could contradict it."""
    await leadership.lost()
    _log.critical("the database has ended our leadership, or cannot be asked whether we have it; leaving")
    os._exit(1)


def _leave() -> None:
    """
    End at once: the node has gone.

    A child must not outlive its node by a second, and what control keeps is safe whatever moment it ends at.
    """
    os._exit(0)


def _make_directories(home: Home) -> None:
    for directory in (home.root, home.snapshot, home.journal):
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"the directory {directory} cannot be made: {error.strerror}") from error


async def _make_first_keys(keys: Keys, link: Link | None, *, admin: bool) -> None:
    """Make a client key, and if asked an admin key, when there never was one, and show it, this once."""
    if not await keys.ever(KeyKind.CLIENT):
        _show(link, "first_key", (await keys.create("first", Scope("default")))[1])
    if admin and not await keys.ever(KeyKind.ADMIN):
        _show(link, "admin_key", (await keys.create("first", Scope(ALL_TENANTS, role=Role.ADMIN)))[1])


def _show(link: Link | None, name: str, text: str) -> None:
    if link is not None:
        link.send(Notice(name, text))
    else:
        sys.stdout.write(f"{name} {text}\n")
        sys.stdout.flush()


def _doors(options: Options, app: ASGIApp, credentials: Credentials) -> list[tuple[ASGIApp, socket.socket]]:
    doors: list[tuple[ASGIApp, socket.socket]] = []
    try:
        if options.admin != _NONE:
            listener = socket.socket(fileno=options.admin)
            doors.append((Door(app, credentials, hosts_of(listener)), listener))
        if options.local != _NONE:
            doors.append((Door(app, None), socket.socket(fileno=options.local)))
    except OSError as error:
        raise StartError(f"an inherited descriptor is not a listening socket: {error.strerror}") from error
    return doors


async def _fold_last(fold: Fold) -> None:
    try:
        async with asyncio.timeout(_LAST_FOLD_S):
            await fold.step()
    except TimeoutError:
        _log.warning("the journal is not folded to its end; the next start goes on with it")
