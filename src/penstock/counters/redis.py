"""
A connection to Redis, and the scripts that count there.

A connection of our own around hiredis, its parser: whoever asks here may be cancelled at any moment, which must neither
be lost nor leave an answer for whoever asks next.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from importlib import resources
from typing import Any, Self, cast
from urllib.parse import parse_qs, unquote, urlsplit

import hiredis
import msgspec

PREFIX = "{penstock}"
"""What all keys begin with; the braces keep them together in a cluster."""
_CONNECT_S = 1.0
_PORT = 6379
_SCRIPTS = ("count", "post", "free")

GONE = (hiredis.HiredisError, OSError, TimeoutError, ValueError)
"""What says that a connection is of no use any more."""


class Unusable(ValueError):
    """An address is none, or what is there cannot be used; the message holds no secret."""


Part = bytes | str | int
Command = tuple[Part, ...]


class Address(msgspec.Struct, frozen=True):
    """
    Where a Redis is.

    Attributes:
        host, port: of a TCP address; the host is empty for a Unix socket.
        path: of a Unix socket.
        tls: whether to use TLS; `ca` is a PEM file to trust instead of the system's certificates.
    """

    host: str = ""
    port: int = _PORT
    path: str = ""
    tls: bool = False
    ca: str | None = None
    user: str = ""
    password: str = ""
    database: int = 0


def parse(url: str) -> Address:
    """
    Read `redis://user:password@host:6379/0`, `rediss://` with `?ca=FILE` if need be, or `unix:///path?db=0`.

    Raises:
        Unusable: it is none of them; the message does not repeat it, as it may hold a password.
    """
    try:
        parts = urlsplit(url.strip())
        asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if parts.scheme == "unix" and parts.path:
            return Address(path=unquote(parts.path), user=user, password=password, database=int(asked.get("db", "0")))
        if parts.scheme in ("redis", "rediss") and parts.hostname:
            database = int(parts.path.strip("/") or asked.get("db", "0"))
            tls = parts.scheme == "rediss"
            return Address(parts.hostname, parts.port or _PORT, "", tls, asked.get("ca"), user, password, database)
    except ValueError:
        pass
    raise Unusable("the address is not one of a Redis: redis://user:password@host:6379/0")


class Connection(asyncio.Protocol):
    """
    One connection, as long as it works; after any of `GONE`, it is closed and another one made. Made by `open`.

    Attributes:
        run: the run id of this Redis: another one after each of its starts.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.WriteTransport | None = None
        self._scripts: dict[str, Part] = {}
        self.run = ""

    @classmethod
    async def open(cls, url: str, patience_s: float) -> Self:
        """
        Connect.

        Args:
            url: see `parse`.
            patience_s: seconds that an answer may take.
        Raises:
            GONE: it cannot be reached, or refuses; ValueError: the URL is none.
        """
        address = parse(url)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_S):
            if address.path:
                _, connection = await loop.create_unix_connection(lambda: cls(patience_s), address.path)
            else:
                context = ssl.create_default_context(cafile=address.ca) if address.tls else None
                _, connection = await loop.create_connection(
                    lambda: cls(patience_s), address.host, address.port, ssl=context
                )
        try:
            await connection.begin(address)
        except BaseException:
            connection.close()
            raise
        return connection

    async def begin(self, address: Address) -> None:
        """Say who we are, load the scripts and learn whom we speak to; see `ask`."""
        if address.password:
            await self.ask(("AUTH", *((address.user,) if address.user else ()), address.password))
        loads: list[Command] = [("SCRIPT", "LOAD", _text(name)) for name in _SCRIPTS]
        _, info, *digests = await self.ask(("SELECT", address.database), ("INFO", "server"), *loads)
        self._scripts = dict(zip(_SCRIPTS, digests, strict=True))
        facts = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
        self.run = facts.get("run_id", "")
        if not self.run:
            raise Unusable("this Redis does not say which one it is (INFO server: run_id)")

    def send(self, *commands: Command) -> list[asyncio.Future[Any]]:
        """
        Ask, at once, and return what will have the answers: bytes, a number, None, a list of these, or a `ReplyError`.

        Raises:
            ConnectionResetError: it is closed.
        """
        if self._transport is None or self.closed:
            raise ConnectionResetError
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Any]] = [loop.create_future() for _ in commands]
        self._waiting.extend(answers)
        self._transport.write(b"".join(hiredis.pack_command(cast("tuple[str]", each)) for each in commands))
        return answers

    async def ask(self, *commands: Command) -> list[Any]:
        """
        Ask, and wait for the answers.

        Raises:
            GONE: one is refused, or nobody knows whether it was done.
        """
        answers = self.send(*commands)
        try:
            async with asyncio.timeout(self._patience_s):
                return [_checked(await answer) for answer in answers]
        finally:
            for answer in answers:
                answer.cancel()  # those that nobody waits for any more

    async def change(self, commands: Sequence[Command]) -> None:
        """Do all of these in one step; see `ask`."""
        *_, done = await self.ask(("MULTI",), *commands, ("EXEC",))
        for answer in done:
            _checked(answer)

    def script(self, name: str, *arguments: Part) -> Command:
        """Return the command that runs a script: `count`, `post` or `free`; see there."""
        return ("EVALSHA", self._scripts[name], 1, PREFIX, *arguments)

    @property
    def closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        """Close it, whatever state it is in."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.WriteTransport", transport)  # as uvloop's do not derive from it

    def data_received(self, data: bytes) -> None:
        """Take answers apart."""
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not False:
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(answer)
        except (hiredis.ProtocolError, IndexError):  # that is no Redis
            self.close()

    def connection_lost(self, _error: Exception | None) -> None:
        """There will be no more answers."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(ConnectionResetError())


def _checked(answer: Any) -> Any:
    if isinstance(answer, hiredis.ReplyError):
        raise answer
    return answer


def _text(script: str) -> str:
    path = resources.files(__package__).joinpath(f"{script}.lua")
    return path.read_text(encoding="utf-8")
