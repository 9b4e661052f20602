"""What stands for the network: a transport in memory, and a count of what an object keeps."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import types
from collections.abc import Callable, Iterable
from typing import Self


class _Socket:
    """As much of a socket as a transport is asked for."""

    def fileno(self) -> int:
        """None: there is nothing to poll."""
        return -1

    def setsockopt(self, *option: object) -> None:
        """Nothing is set."""


class Wire(asyncio.Transport):
    """
    A transport whose peer is the fuzzer: it takes all that is written, at once, and says when reading is paused.

    Attributes:
        written: everything the protocol has sent.
        closing: the protocol has closed or aborted the connection, or it was lost.
        finished: the protocol has said that nothing more comes.
        reading: bytes may be delivered.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("192.0.2.1", 40000), "socket": _Socket()})
        self._loop = loop
        self._protocol = protocol
        self.written = bytearray()
        self.closing = False
        self.finished = False
        self.reading = True

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone; the protocol hears of it in the next turn of the loop, as from a real transport."""
        if not self.closing:
            self.closing = True
            self._loop.call_soon(self._protocol.connection_lost, error)

    @property
    def over(self) -> bool:
        """Whether nothing that is delivered would be read as a request."""
        return self.closing or self.finished

    # What the protocol calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it."""
        if not self.closing:
            self.written += data

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Take them."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Everything is written already."""
        self.lose()

    def abort(self) -> None:
        """Close."""
        self.lose()

    def is_closing(self) -> bool:
        """Whether it is."""
        return self.closing

    def pause_reading(self) -> None:
        """Deliver no more for now."""
        self.reading = False

    def resume_reading(self) -> None:
        """Deliver again."""
        self.reading = True

    def is_reading(self) -> bool:
        """Whether bytes may be delivered."""
        return self.reading and not self.closing

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """Nothing more comes."""
        self.finished = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is ever buffered."""

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0


class Faults(logging.Handler):
    """Collects what would otherwise only be logged: errors of our own, and exceptions that nobody saw."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []
        loop.set_exception_handler(self._unseen)
        self._loop = loop

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        error = record.exc_info[1] if record.exc_info else None
        self.found.append(f"logged: {record.getMessage()}: {error!r}")

    def _unseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:  # noqa: ARG002  asyncio's
        self.found.append(f"unhandled: {context.get('message')}: {context.get('exception')!r}")

    def __enter__(self) -> Self:
        self.found.clear()
        logging.getLogger("penstock").addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("penstock").removeHandler(self)


async def settle(done: Callable[[], bool], turns: int = 30) -> None:
    """Let tasks run until the condition holds or nothing can still happen."""
    for _ in range(turns):
        if done():
            return
        await asyncio.sleep(0)


_ELSEWHERE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    types.CoroutineType,
    contextvars.Context,
    asyncio.AbstractEventLoop,
    asyncio.Future,
    asyncio.Transport,
    logging.Logger,
)


def held(root: object, *apart: object) -> int:
    """
    How many bytes and characters an object keeps, by whatever attributes.

    What runs (tasks, frames), what is shared (classes, modules, the loop) and what lies `apart` is not counted.
    """
    seen = {id(each) for each in apart}
    stack = [root]
    total = 0
    while stack:
        each = stack.pop()
        if id(each) in seen or isinstance(each, _ELSEWHERE):
            continue
        seen.add(id(each))
        if isinstance(each, bytes | bytearray | str):
            total += len(each)
        else:
            stack.extend(gc.get_referents(each))
    return total
