"""`penstock up`, `gateway`, `control` and `node`: a node with all roles, or with some."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from penstock.cli import output
from penstock.cli.options import FileOption, HomeOption, file_of, home_of
from penstock.cli.progress import Progress
from penstock.cli.ready import Bound, Facts, block
from penstock.types.errors import StartError
from penstock.types.home import Home

if TYPE_CHECKING:  # these load the stack's parser and the node, which only these commands need
    from penstock.node.settings import HostPort, Started
    from penstock.stack.listen import Listen
    from penstock.stack.stack import Stack
    from penstock.telemetry.link import Notice


def up(file: FileOption = None, home: HomeOption = None) -> None:
    """Serve everything on this machine: gateways, control and engines."""
    _serve("penstock", file, home, gateways=True, control=True, engines=True)


def gateway(file: FileOption = None, home: HomeOption = None) -> None:
    """Serve only gateways, on what control last published to the data directory."""
    _serve("penstock gateway", file, home, gateways=True, control=False, engines=False)


def control(file: FileOption = None, home: HomeOption = None) -> None:
    """Run only control: the stack, the ledger and the admin API."""
    _serve("penstock control", file, home, gateways=False, control=True, engines=False)


def node(file: FileOption = None, home: HomeOption = None) -> None:
    """Serve gateways and engines, without control."""
    _serve("penstock node", file, home, gateways=True, control=False, engines=True)


def _serve(
    title: str, file: Path | None, directory: Path | None, *, gateways: bool, control: bool, engines: bool
) -> None:
    """Be a node with these roles until it is told to stop."""
    import uvloop

    from penstock.node.node import run
    from penstock.node.settings import NodeSettings, Roles
    from penstock.stack.load import load
    from penstock.telemetry import log

    began = time.monotonic()
    stack = load(file_of(file), os.environ, Path.cwd())
    for warning in stack.warnings:
        output.note(f"Warning: {output.line(warning.written(stack.file))}")
    home = home_of(directory)
    progress = Progress(home)
    announcer = _Announcer(title, stack, home, began, progress)
    settings = NodeSettings(
        home=home,
        stack_path=stack.path,
        workers=stack.gateway.workers,
        listen=_host_port(stack.gateway.listen, "gateway.listen", home) if gateways else None,
        admin=_host_port(stack.admin.listen, "admin.listen", home) if control else None,
        ops=_host_port(stack.gateway.ops, "gateway.ops", home),
        roles=Roles(gateways=gateways, control=control, engines=engines),
        drain_s=stack.gateway.drain.seconds,
        on_ready=announcer.ready,
        on_notice=announcer.notice,
    )

    async def serve() -> int:
        watching = asyncio.create_task(progress.watch(), name="progress")
        try:
            return await run(settings)
        finally:
            progress.stop()
            await watching

    handler = log.configure("node")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(serve())
    finally:
        handler.close()
    raise typer.Exit(code)


class _Announcer:
    """Prints the ready block, once. Called from the node's event loop."""

    def __init__(self, title: str, stack: Stack, home: Home, began: float, progress: Progress) -> None:
        self._title = title
        self._stack = stack
        self._home = home
        self._began = began
        self._progress = progress
        self._notices: dict[str, str] = {}
        self._printed = False

    def notice(self, notice: Notice) -> None:
        """Keep what belongs into the block; what comes after it gets a line of its own."""
        self._notices[notice.name] = notice.text
        if self._printed:
            print(f"  {notice.name.replace('_', ' ')}  {notice.text}  shown once", flush=True)

    def ready(self, started: Started) -> None:
        """Print the block in one write, so that whoever reads it gets it whole."""
        from penstock.snapshot.fleet import ReplicaState

        self._progress.stop()
        facts = Facts(
            title=self._title,
            seconds=time.monotonic() - self._began,
            local=str(self._home.gateway_socket),
            models=tuple(self._stack.models),
            gateway=_bound(started.listen, tls=self._stack.gateway.tls is not None),
            admin=_bound(started.admin),
            ops=_bound(started.ops),
            first_key=self._notices.get("first_key", ""),
            admin_key=self._notices.get("admin_key", ""),
            failures=tuple(
                (replica.name, replica.detail)
                for replica in started.replicas
                if replica.state is not ReplicaState.READY
            ),
        )
        print(block(facts), flush=True)
        self._printed = True


def _host_port(listen: Listen, setting: str, home: Home) -> HostPort:
    if listen.unix is not None:
        raise StartError(
            f"{setting} is a Unix socket, which this version does not open; "
            f"on this machine there are {home.gateway_socket} and {home.admin_socket}"
        )
    return listen.host, listen.port


def _bound(address: HostPort | None, *, tls: bool = False) -> Bound | None:
    return Bound(address[0], address[1], tls) if address is not None else None
