"""
The link between a node and a child process: one socket pair, JSON lines from child to node.

The child says that it is ready or cannot start, and every second that it lives; it sends its metrics and hands over
what a person should see. Its other purpose is silence: when the node dies the socket closes, and the child ends itself.
The node never writes, so a full buffer cannot block it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import msgspec

from penstock.types.errors import PenstockError

CANNOT_START = os.EX_CONFIG  # exit status of a process that has sent `Failed`


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The process serves."""


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """The event loop of the process turns. Sent every second from the opening of the link on."""


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """The process was told to end, takes nothing new, and finishes what it has; a successor may begin beside it."""


class Notice(msgspec.Struct, frozen=True, tag="notice"):
    """
    Something to show a person once, such as a first key. Never logged.

    Attributes:
        name: what it is: `first_key`, `admin_key`.
    """

    name: str
    text: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """
    The process cannot start; nothing is gained by trying again. It ends with `CANNOT_START` after this.

    Attributes:
        text: why, in one sentence without any secret.
    """

    text: str


class Metrics(msgspec.Struct, frozen=True, tag="metrics"):
    """
    Samples of the sender's registry, absolute since it started. Several messages make up the whole of a registry, since
    a line is bounded; each replaces the samples it names.

    Attributes:
        families: one `(name, help, type, samples)` each; samples are `(sample name, labels, value)`.
    """

    families: list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]


Message = Ready | Alive | Leaving | Notice | Failed | Metrics

_ALIVE_S = 1.0
_MAX_LINE = 4 * 1024 * 1024


class Link:
    """
    The child's end. Made once at start from the inherited descriptor; belongs to the process.

    `on_node_gone` is called once, from the event loop, when the node has ended.
    """

    def __init__(self, writer: asyncio.StreamWriter, watcher: asyncio.Task[None]) -> None:
        self._writer = writer
        self._watcher = watcher
        self._encode = msgspec.json.Encoder().encode
        self._beating = asyncio.create_task(self._beat(), name="link-beat")

    @classmethod
    async def open(cls, descriptor: int, on_node_gone: Callable[[], None]) -> Link:
        """Take over the descriptor that the node passed down."""
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))

        async def watch() -> None:
            # The node never writes, so this returns at its end; with a reset, if it left messages unread.
            with contextlib.suppress(OSError):
                await reader.read()
            on_node_gone()

        return cls(writer, asyncio.create_task(watch(), name="link-watch"))

    def send(self, message: Message) -> None:
        """Queue a message. Never blocks; dropped when the node has not read for long (metrics are absolute)."""
        if self._writer.transport.get_write_buffer_size() < _MAX_LINE:
            self._writer.write(self._encode(message) + b"\n")

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Send `Failed` when one of our errors ends the block, and let it go on."""
        try:
            yield
        except PenstockError as error:
            self.send(Failed(str(error)))
            raise

    async def _beat(self) -> None:
        while True:
            self.send(Alive())
            await asyncio.sleep(_ALIVE_S)

    def close(self) -> None:
        """Stop watching and close the descriptor."""
        self._beating.cancel()
        self._watcher.cancel()
        self._writer.close()


async def receive(descriptor: socket.socket, handle: Callable[[Message], None]) -> None:
    """Read a child's messages at the node's end until the child has gone. Lines that are not messages are skipped."""
    decoder = msgspec.json.Decoder(Message)
    reader, writer = await asyncio.open_connection(sock=descriptor, limit=_MAX_LINE)
    try:
        while line := await reader.readline():
            try:
                message = decoder.decode(line)
            except msgspec.DecodeError:
                continue
            handle(message)
    except (ConnectionError, ValueError):  # ValueError: a line over the limit; the child is not one of ours any more
        return
    finally:
        writer.close()
