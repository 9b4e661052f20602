"""A request body that has not arrived whole with its head."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.http.chunked_body import ChunkedDecoder
from penstock.http.limits import Limits
from penstock.types.errors import ExchangeError


class RequestBody:
    """
    Collects one body. The connection feeds it, the handler's task reads it.

    Attributes:
        complete: all of it has been received.
        received: decoded bytes so far.
        wanted: the handler has asked for it.
    """

    __slots__ = ("_data", "_decoder", "_failure", "_left", "_on_wanted", "_waiter", "complete", "wanted")

    def __init__(self, length: int | None, limits: Limits, on_wanted: Callable[[], None]) -> None:
        """`length` in bytes, None for chunked; `on_wanted` is called once, when the handler first waits for it."""
        self._left = length or 0
        self._decoder = ChunkedDecoder(limits.max_body, limits.header_bytes) if length is None else None
        self._data = bytearray()
        self._failure: tuple[type[ExchangeError], str] | None = None  # no exception is kept: it would hold its frames
        self._on_wanted = on_wanted
        self._waiter: asyncio.Future[None] | None = None
        self.complete = False
        self.wanted = False

    @property
    def received(self) -> int:
        return len(self._data)

    def feed(self, data: bytes | bytearray) -> int:
        """
        Take what belongs to the body.

        Returns:
            How many bytes of `data` did; less than all of them only at the end of the body.
        Raises:
            InvalidRequest, BodyTooLarge: a chunked body is malformed or too large.
        """
        if self._decoder is not None:
            taken = self._decoder.feed(data, self._data)
            self.complete = self._decoder.done
        else:
            taken = min(self._left, len(data))
            self._data += data if taken == len(data) else data[:taken]
            self._left -= taken
            self.complete = not self._left
        if self.complete:
            self._wake()
        return taken

    def fail(self, kind: type[ExchangeError], message: str) -> None:
        """There will be no more of it: every `read` raises this error from now on."""
        self._failure = kind, message
        self._data = bytearray()
        self._wake()

    async def read(self) -> bytes:
        """
        The whole body, once; the caller keeps it.

        Raises:
            InvalidRequest, BodyTooLarge, RequestTimedOut: as given to `fail`.
        """
        while self._failure is None and not self.complete:
            if not self.wanted:
                self.wanted = True
                self._on_wanted()
                continue  # what was held back may have completed it
            if self._waiter is None or self._waiter.done():
                self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._failure is not None:
            kind, message = self._failure
            raise kind(message)
        data = bytes(self._data)
        self._data = bytearray()
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
