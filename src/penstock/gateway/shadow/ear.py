"""The place of a client where there is none: what is sent there is read for its text and gone."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from penstock.gateway.shadow.transcript import Transcript


class Ear:
    """
    A `Wire` without a connection. It takes everything at once.

    The head of an answer is no event with data, so it needs no care.
    """

    paused = gone = False

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript

    def write(self, data: bytes) -> None:
        """Read whole events."""
        self._transcript.hear(data)

    async def writable(self) -> None:
        """Return at once."""

    def closing_lines(self) -> bytes:
        """No connection is to be closed."""
        return b""

    def cut(self, reset: bool) -> None:
        """Nothing is there to be cut."""

    def take_over(self) -> asyncio.Transport:
        """There is nothing to give away."""
        return _nothing()


def _nothing() -> NoReturn:
    raise ConnectionResetError("nobody is connected")
