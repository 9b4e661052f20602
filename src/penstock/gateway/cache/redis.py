"""Answers in a Redis that all hosts share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Self

import hiredis
import msgspec

from penstock.auth.secrets import SecretMissing
from penstock.counters.redis import GONE, Connection, Unusable
from penstock.gateway.cache.store import Entry

PATIENCE_S = 0.05  # that an exchange waits for an answer of Redis; a slow one is worse than none
_REST_S = 1.0  # after a failure, in which nobody asks
_BEAT_S = 0.5
_PREFIX = b"penstock:cache:"
_MAX_UNSENT = 8 * 1024 * 1024  # bytes on their way there
_MAX_ENTRY = 4 * 1024 * 1024  # bytes, which a gigabit per second brings in time; a larger one would cost all the rest

_decode = msgspec.msgpack.Decoder(Entry).decode
_encode = msgspec.msgpack.Encoder().encode
_log = logging.getLogger(__name__)


class Redis:
    """
    Looks answers up in Redis, and leaves them there; Redis forgets them when their time is over. Made by `begin`.

    After any failure, and each answer that does not come in time, nobody asks for a second: exchanges go on as if
    nothing were kept.

    Attributes:
        failures: how often it was of no use.
    """

    def __init__(self, url: Callable[[], str], patience_s: float) -> None:
        self.failures = 0
        self._url = url
        self._patience_s = patience_s
        self._connection: Connection | None = None
        self._unsent = 0
        self._missed = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def begin(cls, url: Callable[[], str], patience_s: float = PATIENCE_S) -> Self:
        """
        Begin to connect; until that is done, nothing is kept.

        Args:
            url: see `counters.redis.parse`; looked up for each connection; a ValueError says that there is none now.
            patience_s: seconds that an answer may take.
        """
        store = cls(url, patience_s)
        store._task = asyncio.create_task(store._run(), name="cache")
        return store

    @property
    def connected(self) -> bool:
        """Whether anybody is asked now."""
        return self._connection is not None

    async def get(self, key: bytes) -> Entry | None:
        """Return what is kept under a key."""
        connection = self._connection
        if connection is None:
            return None
        try:
            (found,) = await connection.ask(("GET", _PREFIX + key))
            return _decode(found) if isinstance(found, bytes) and len(found) <= _MAX_ENTRY else None
        except msgspec.DecodeError:  # of another version, perhaps; others can be read all the same
            self.failures += 1
            return None
        except GONE as error:
            self._note(error)
            connection.close()
            if connection is self._connection:  # nobody asks until there is a new one
                self._connection = None
            return None

    def put(self, key: bytes, entry: Entry, left_s: float) -> None:
        """Send it there, unless it is too large, or too much is on its way already."""
        connection, value, left_ms = self._connection, _encode(entry), int(left_s * 1000)
        size = len(value)
        if connection is None or left_ms < 1 or size > _MAX_ENTRY or self._unsent + size > _MAX_UNSENT:
            return

        def done(answer: asyncio.Future[Any]) -> None:
            self._unsent -= size
            if not answer.cancelled() and answer.exception() is None and isinstance(answer.result(), Exception):
                self.failures += 1  # no room there; what is kept already can be read all the same

        with contextlib.suppress(ConnectionResetError):  # noticed by whoever serves it
            (answer,) = connection.send(("SET", _PREFIX + key, value, "PX", left_ms))
            self._unsent += size
            answer.add_done_callback(done)

    async def aclose(self) -> None:
        """Close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._serve()
            except GONE as error:
                self.failures += 1
                self._note(error)
            await asyncio.sleep(_REST_S)

    async def _serve(self) -> None:
        """Keep up one connection as long as it works, which is tried also while no exchange asks."""
        connection = await Connection.open(self._url(), self._patience_s)
        if self._missed:
            _log.warning("the Redis of the cache is back")
        self._missed, self._connection = False, connection
        try:
            while True:
                await asyncio.sleep(_BEAT_S)
                await connection.ask(("PING",))
        finally:
            self._connection = None
            connection.close()

    def _note(self, error: Exception) -> None:
        """Say so once, until it is back."""
        if not self._missed:
            said = isinstance(error, SecretMissing | Unusable | hiredis.ReplyError)
            reason = str(error) if said else type(error).__name__
            _log.warning("the Redis of the cache is away; trying again", extra={"fields": {"error": reason}})
        self._missed = True
