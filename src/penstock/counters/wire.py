"""What a worker and its node say to each other about counters: frames of msgpack, each behind its length."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import cast

import msgspec

from penstock.counters.counter import Ask, Counter, Return

_LENGTH = 4
_MAX_FRAME = 1024 * 1024


class Take(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker asks. `number` comes back with the answer."""

    number: int
    asks: list[Ask]


class Give(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker gives back."""

    returns: list[Return]


class Settle(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker has used up some of what it holds of each of these sums, and gives some back."""

    sums: tuple[Counter, ...]
    spent: int
    back: int


class Frames(asyncio.Protocol, ABC):
    """One end of the connection. What it is for is `received`; a peer that sends nonsense is cut off."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self._rest = b""
        self._encode = msgspec.msgpack.Encoder().encode

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self.transport = cast("asyncio.WriteTransport", transport)  # as uvloop's do not derive from it

    def data_received(self, data: bytes) -> None:
        """Take frames apart."""
        data, start = self._rest + data, 0
        while len(data) - start >= _LENGTH:
            length = int.from_bytes(data[start : start + _LENGTH], "big")
            end = start + _LENGTH + length
            if length > _MAX_FRAME:
                self.abort()
                return
            if end > len(data):
                break
            try:
                self.received(data[start + _LENGTH : end])
            except msgspec.DecodeError:
                self.abort()
                return
            start = end
        self._rest = data[start:]

    @abstractmethod
    def received(self, frame: bytes) -> None:
        """
        Take in a message.

        Raises:
            msgspec.DecodeError: it is none.
        """

    def send(self, message: msgspec.Struct) -> None:
        """Send a message; nothing happens when the other end has gone."""
        if self.transport is not None and not self.transport.is_closing():
            frame = self._encode(message)
            self.transport.write(len(frame).to_bytes(_LENGTH, "big") + frame)

    @property
    def unsent(self) -> int:
        """Bytes that the other end has not read yet, beside those in the kernel."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def abort(self) -> None:
        """End the connection."""
        self._rest = b""
        if self.transport is not None:
            self.transport.abort()
