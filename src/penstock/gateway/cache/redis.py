"""
Answers in a Redis that all hosts share, and beside each the lock of the host that asks an upstream for it.

A lock is the priority of who has it, the name of its host, and something that no other lock has. It ends by itself when
a first token should have come. Another request of the same host takes it over: which one leads there, its node has
decided; so does one of a higher priority, from wherever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from typing import Any, Self

import hiredis
import msgspec

from penstock.auth.secrets import SecretMissing
from penstock.counters.redis import GONE, Command, Connection, Unusable
from penstock.gateway.cache.store import Entry
from penstock.types.priority import Priority

PATIENCE_S = 0.05  # that an exchange waits for an answer of Redis; a slow one is worse than none
_REST_S = 1.0  # after a failure, in which nobody asks
_BEAT_S = 0.5
_PREFIX = b"penstock:cache:"
_LOCKS = b"penstock:asking:"
_HOST = 12  # bytes of a host's name
_TAKEN, _HELD = 1, 2  # what the script says; 0 where there is an answer
_LOCK = b"""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local held = redis.call('GET', KEYS[2])
local who, priority = string.sub(ARGV[1], 2, 13), string.sub(ARGV[1], 1, 1)
if held and string.sub(held, 2, 13) ~= who and string.sub(held, 1, 1) <= priority then return 2 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
"""
_UNLOCK = b"if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_MOST_OWED = 1000  # locks that are given back once there is a connection again
_MAX_UNSENT = 8 * 1024 * 1024  # bytes on their way there
_MAX_ENTRY = 4 * 1024 * 1024  # bytes, which a gigabit per second brings in time; a larger one would cost all the rest

_decode = msgspec.msgpack.Decoder(Entry).decode
_encode = msgspec.msgpack.Encoder().encode
_log = logging.getLogger(__name__)


class Held(msgspec.Struct, frozen=True):
    """Another host asks an upstream for it."""


class Lock:
    """The part of the one exchange that asks an upstream for all hosts; see `flight.Above`."""

    __slots__ = ("_key", "_store", "value")

    def __init__(self, store: Redis, key: bytes, value: bytes) -> None:
        self._store: Redis | None = store
        self._key = key
        self.value = value

    def land(self, answer: Entry | None, *, kept: bool) -> None:  # noqa: ARG002  # who waits finds what has been put
        """Let others look."""
        self.release(None)

    def release(self, error: BaseException | None) -> None:  # noqa: ARG002  # they may have better luck
        """Let others ask."""
        store, self._store = self._store, None
        if store is not None:
            store.unlock(self._key, self.value)


class Redis:
    """
    Looks answers up in Redis, and leaves them there; Redis forgets them when their time is over. Made by `begin`.

    After any failure, and each answer that does not come in time, nobody asks for a second: exchanges go on as if
    nothing were kept.

    Attributes:
        failures: how often it was of no use.
    """

    def __init__(self, url: Callable[[], str], patience_s: float, host: str = "") -> None:
        self.failures = 0
        self._url = url
        self._patience_s = patience_s
        self._host = host.encode().ljust(_HOST)[:_HOST]
        self._nonce = secrets.token_hex(8).encode()
        self._locks = 0
        self._owed: dict[bytes, bytes] = {}  # the keys of locks that it may have
        self._connection: Connection | None = None
        self._unsent = 0
        self._missed = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def begin(cls, url: Callable[[], str], patience_s: float = PATIENCE_S, host: str = "") -> Self:
        """
        Begin to connect; until that is done, nothing is kept.

        Args:
            url: see `counters.redis.parse`; looked up for each connection; a ValueError says that there is none now.
            patience_s: seconds that an answer may take.
            host: its name, of which 12 bytes count; its workers take locks over from each other.
        """
        store = cls(url, patience_s, host)
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
        except GONE as error:
            self._leave(connection, error)
            return None
        return self._read(found)

    async def lead(self, key: bytes, priority: Priority, hold_s: float) -> Entry | Lock | Held | None:
        """
        Return what is kept under a key; or, in the same round trip, a lock on it; or None, if there is no Redis now, or
        it has no locks.

        Args:
            hold_s: seconds after which the lock ends by itself.
        """
        connection = self._connection
        if connection is None:
            return None
        self._locks += 1
        lock = Lock(self, key, b"%d%b%b%d" % (priority, self._host, self._nonce, self._locks))
        names = (_PREFIX + key, _LOCKS + key)
        try:
            found, told = await self._ask(
                connection,
                ("GET", names[0]),
                ("EVAL", _LOCK, 2, *names, lock.value, max(1, int(hold_s * 1000))),
            )
        except GONE as error:
            self._leave(connection, error)
            lock.release(None)  # which it may have
            return None
        except asyncio.CancelledError:
            lock.release(None)
            raise
        if isinstance(told, hiredis.ReplyError):  # no room there, or no scripts; what is kept can be read all the same
            self.failures += 1
        entry = self._read(found)
        if entry is not None:
            return entry
        if told == _TAKEN:
            return lock
        return Held() if told == _HELD else None

    def unlock(self, key: bytes, value: bytes) -> None:
        """Give a lock back, unless it has ended, and without waiting; without a connection, once there is one."""
        connection = self._connection
        if connection is not None and not connection.closed:
            (answer,) = connection.send(("EVAL", _UNLOCK, 1, _LOCKS + key, value))
            answer.add_done_callback(_forget)
        elif len(self._owed) < _MOST_OWED:
            self._owed[value] = key

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

    async def _ask(self, connection: Connection, *commands: Command) -> list[Any]:
        """
        Return the answers to commands of which only the first one has to be done.

        Raises:
            GONE: it is refused, or nobody knows.
        """
        answers = connection.send(*commands)
        try:
            async with asyncio.timeout(self._patience_s):
                found = [await answer for answer in answers]
        finally:
            for answer in answers:
                answer.cancel()
        if isinstance(found[0], hiredis.ReplyError):
            raise found[0]
        return found

    def _read(self, found: Any) -> Entry | None:
        try:
            return _decode(found) if isinstance(found, bytes) and len(found) <= _MAX_ENTRY else None
        except msgspec.DecodeError:  # of another version, perhaps; others can be read all the same
            self.failures += 1
            return None

    def _leave(self, connection: Connection, error: Exception) -> None:
        """Nobody asks until there is a new connection."""
        self._note(error)
        connection.close()
        if connection is self._connection:
            self._connection = None

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
        owed, self._owed = self._owed, {}
        for value, key in owed.items():
            self.unlock(key, value)
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


def _forget(answer: asyncio.Future[Any]) -> None:
    """Nobody wants to know; but an exception that nobody asks for would be logged."""
    if not answer.cancelled():
        answer.exception()
