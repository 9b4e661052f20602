"""`penstock up`, `gateway`, `control` and `node`: a node with all roles, or with some."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from penstock.auth.secrets import SecretRef
from penstock.cli import output
from penstock.cli.join import JoinOption, KeyFileOption, joined
from penstock.cli.options import ADMIN_KEY_VARIABLE, FileOption, HomeOption, file_of, home_of
from penstock.cli.progress import Progress
from penstock.cli.ready import Bound, Facts, block
from penstock.types.errors import StartError
from penstock.types.home import Home

if TYPE_CHECKING:  # these load the stack's parser and the node, which only these commands need
    from penstock.node.settings import HostPort, Join, Started
    from penstock.snapshot.config import Config
    from penstock.stack.listen import Listen
    from penstock.stack.stack import Stack
    from penstock.telemetry.link import Notice


def up(file: FileOption = None, home: HomeOption = None) -> None:
    """Serve everything on this machine: gateways, control and engines."""
    _serve("penstock", file, home, gateways=True, control=True, engines=True)


def gateway(
    file: FileOption = None, home: HomeOption = None, join: JoinOption = None, key_file: KeyFileOption = None
) -> None:
    """Serve only gateways: on what control last published to the data directory, or joined to a control elsewhere."""
    _serve("penstock gateway", file, home, gateways=True, control=False, engines=False, join=joined(join, key_file))


def control(file: FileOption = None, home: HomeOption = None) -> None:
    """Run only control: the stack, the ledger and the admin API."""
    _serve("penstock control", file, home, gateways=False, control=True, engines=False)


def node(file: FileOption = None, home: HomeOption = None) -> None:
    """Serve gateways and engines, without control."""
    _serve("penstock node", file, home, gateways=True, control=False, engines=True)


def _serve(
    title: str,
    file: Path | None,
    directory: Path | None,
    *,
    gateways: bool,
    control: bool,
    engines: bool,
    join: Join | None = None,
) -> None:
    """Be a node with these roles until it is told to stop."""
    import uvloop

    from penstock.node.node import run
    from penstock.node.settings import NodeSettings, Roles
    from penstock.stack.load import load
    from penstock.telemetry import log

    began = time.monotonic()
    stack = load(file_of(file), os.environ, Path.cwd())
    for warning in stack.warnings if join is None else ():  # most of them are about what it does not serve
        output.note(f"Warning: {output.line(warning.written(stack.file))}")
    home = home_of(directory)
    _check(stack, home, gateways=gateways, control=control)
    progress = Progress(home, awaits_control=not control, elsewhere=join is not None)
    announcer = _Announcer(title, stack, home, began, progress, control=control, joined=join is not None)
    admin_tls = stack.admin.tls
    settings = NodeSettings(
        home=home,
        stack_path=stack.path,
        workers=stack.gateway.workers,
        listen=_host_port(stack.gateway.listen) if gateways else None,
        admin=_host_port(stack.admin.listen) if control else None,
        ops=_host_port(stack.gateway.ops),
        database=stack.state.database if isinstance(stack.state.database, SecretRef) else None,
        admin_tls=(admin_tls.certificate, admin_tls.key) if admin_tls is not None else None,
        join=join,
        roles=Roles(gateways=gateways, control=control, engines=engines),
        drain_s=stack.gateway.drain.seconds,
        on_ready=announcer.ready,
        on_notice=announcer.notice,
        on_stop=announcer.stopping if gateways else announcer.silent,
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
        announcer.left_over()
    raise typer.Exit(code)


def _check(stack: Stack, home: Home, *, gateways: bool, control: bool) -> None:
    """Refuse before anything is started what a child would refuse after it. Makes nothing."""
    from penstock.auth import pepper
    from penstock.http.tls import ServerTls

    secret = home.root / pepper.FILE_NAME
    try:
        if pepper.VARIABLE in os.environ or secret.exists():
            pepper.load(home.root, os.environ)
    except OSError as error:
        raise StartError(f"{secret} cannot be read: {error.strerror}") from error
    for tls in (stack.gateway.tls if gateways else None, stack.admin.tls if control else None):
        if tls is not None:
            ServerTls(Path(tls.certificate), Path(tls.key))


class _Announcer:
    """Prints the ready block, once, and that the end has begun. Called from the node's event loop."""

    def __init__(
        self, title: str, stack: Stack, home: Home, began: float, progress: Progress, *, control: bool, joined: bool
    ) -> None:
        self._title = title
        self._stack = stack
        self._home = home
        self._began = began
        self._progress = progress
        self._control = control
        self._joined = joined
        self._notices: dict[str, str] = {}
        self._printed = False

    def notice(self, notice: Notice) -> None:
        """Keep what belongs into the block; what comes after it gets a line of its own."""
        self._notices[notice.name] = notice.text
        if self._printed:
            self._show(notice.name, notice.text)

    def ready(self, started: Started) -> None:
        """Print the block in one write, so that whoever reads it gets it whole."""
        from penstock.snapshot.fleet import ReplicaState

        self._progress.stop()
        config = _published(self._home) if self._joined else None
        facts = Facts(
            title=self._title,
            seconds=time.monotonic() - self._began,
            local=str(self._home.gateway_socket),
            data=str(self._home.root),
            models=tuple(config.models) if config is not None else tuple(self._stack.models),
            gateway=_bound(started.listen, tls=self._serves_tls(config)),
            admin=_bound(started.admin, tls=self._stack.admin.tls is not None),
            ops=_bound(started.ops),
            first_key=self._notices.get("first_key", ""),
            admin_key=self._notices.get("admin_key", ""),
            admin_key_variable=ADMIN_KEY_VARIABLE
            if self._control and os.environ.get(ADMIN_KEY_VARIABLE, "").strip()
            else "",
            failures=tuple(
                (replica.name, replica.detail)
                for replica in started.replicas
                if replica.state is not ReplicaState.READY
            ),
        )
        print(block(facts), flush=True)
        self._printed = True

    def _serves_tls(self, config: Config | None) -> bool:
        return (self._stack if config is None else config).gateway.tls is not None

    def stopping(self, number: signal.Signals) -> None:
        """Say what a person who pressed Ctrl-C waits for."""
        self._progress.stop()
        if number is signal.SIGINT and sys.stderr.isatty():
            gateway = self._stack.gateway
            drain_s = gateway.notice.seconds + gateway.drain.seconds
            if self._joined and (config := _published(self._home)) is not None:
                drain_s = config.gateway.notice_s + config.gateway.drain_s
            output.note(f"Stopping; answers in progress may take up to {drain_s:g} s (Ctrl-C again to cut them).")

    def silent(self, _number: signal.Signals) -> None:
        """Take the progress line away; there are no answers to wait for."""
        self._progress.stop()

    def left_over(self) -> None:
        """Show the keys that were made by a start that never became ready: they will not be shown again."""
        if not self._printed:
            for name, text in self._notices.items():
                self._show(name, text)

    def _show(self, name: str, text: str) -> None:
        print(f"  {name.replace('_', ' ')}  {text}  shown once", flush=True)


def _published(home: Home) -> Config | None:
    """Return what control elsewhere has published."""
    from penstock.snapshot.config import Config
    from penstock.snapshot.file import Reader

    return Reader(home.snapshot, Config).changed()


def _host_port(listen: Listen) -> HostPort:
    return listen.host, listen.port


def _bound(address: HostPort | None, *, tls: bool = False) -> Bound | None:
    return Bound(address[0], address[1], tls) if address is not None else None
