"""Serving the admin application with uvicorn on sockets that are open already."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from penstock.http.tls import ServerTls
from penstock.types.errors import StartError

_GRACE_S = 2  # for requests that are being answered when control stops
_CONNECTIONS = 1024  # a host that joins keeps two
_MAX_HEAD = 32 * 1024  # bytes, and what one read of the socket brings beyond them
_POLL_S = 0.01
_FIRST_REQUEST_S = 10.0
_RENEW_S = 10.0  # between looks for a renewed certificate


class _Impatient(H11Protocol):
    """uvicorn over h11, which bounds request heads; a connection that brings no request in time is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.loop.call_later(_FIRST_REQUEST_S, self._expire)

    def _expire(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever uvicorn says
        if cycle is None and not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to the process."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serve(
    doors: Sequence[tuple[ASGIApp, socket.socket]], tls: tuple[str, str] | None = None
) -> AsyncIterator[None]:
    """
    Serve each application on its listening socket for the length of the block, then end what is under way.

    Args:
        tls: paths of the PEM files of a certificate chain and its key, for what listens on TCP.
    Raises:
        StartError: a socket cannot be served, or these files cannot be used.
    """
    running: list[tuple[_Server, asyncio.Task[None]]] = []
    pair = ServerTls(Path(tls[0]), Path(tls[1])) if tls is not None else None
    renewing = asyncio.create_task(_renew(pair), name="renew") if pair is not None else None
    try:
        for app, listener in doors:
            config = _config(app)
            config.load()
            if pair is not None and listener.family != socket.AF_UNIX:
                config.ssl = pair.context
            server = _Server(config)
            task = asyncio.create_task(server.serve([listener]), name="admin-server")
            running.append((server, task))
            while not server.started:  # uvicorn has no event for it
                if task.done():
                    raise StartError("the admin port cannot be served") from task.exception()
                await asyncio.sleep(_POLL_S)
        yield
    finally:
        for server, _ in running:
            server.should_exit = True
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)
        if renewing is not None:
            renewing.cancel()


async def _renew(pair: ServerTls) -> None:
    while True:
        await asyncio.sleep(_RENEW_S)
        pair.reload_if_changed()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_Impatient,
        h11_max_incomplete_event_size=_MAX_HEAD,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,  # its loggers pass on to ours
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
    )
