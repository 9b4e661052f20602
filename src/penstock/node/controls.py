"""The controls that a host may turn to: one of them leads and answers, the others may take its place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from penstock.http.dial import authority_of
from penstock.http.pool import Pool, Reply, Timeouts
from penstock.types.address import Address
from penstock.types.errors import ExchangeError, PenstockError

_CONNECT_S = 3.0
_SILENCE_S = 10.0
_MAX_ANSWER = 64 * 1024 * 1024  # half a million keys
_FINAL = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.BAD_REQUEST}
)


class Away(PenstockError):
    """No control answers now; another try may succeed."""


class Rejected(PenstockError):
    """Control will not have this host, or not so; the sentence says why."""


class _Problem(msgspec.Struct):
    message: str = ""


class _ErrorBody(msgspec.Struct):
    error: _Problem = msgspec.field(default_factory=_Problem)


class Controls:
    """
    Made once per node; used by several tasks, each of which turns to the control that answered last.

    Args:
        addresses: of their admin ports, at least one.
        key: of an admin key with the role `gateway`.
    """

    def __init__(self, addresses: Sequence[Address], key: str) -> None:
        self._names = [authority_of(address).decode() for address in addresses]
        self._pools = [Pool(address) for address in addresses]
        self._headers = b"authorization: Bearer " + key.encode("ascii") + b"\r\n"
        self._turn = 0
        self._refusing: set[int] = set()

    @property
    def name(self) -> str:
        """The control that is turned to next, for people."""
        return self._names[self._turn]

    @property
    def all_say_no(self) -> bool:
        """Whether each of them has, since one answered last."""
        return len(self._refusing) == len(self._pools)

    async def ask(self, method: bytes, target: str, body: bytes = b"", answer_s: float = 10.0) -> bytes:
        """
        Return the body of the answer.

        Args:
            answer_s: how long it may take to begin, after which another control is turned to.
        Raises:
            Away: there is none, or none that can be used.
            Rejected: it says no.
        """
        turn = self._turn
        pool, name = self._pools[turn], self._names[turn]
        pool.sweep()
        headers = self._headers + (b"content-type: application/msgpack\r\n" if body else b"")
        timeouts = Timeouts(connect_s=_CONNECT_S, first_byte_s=answer_s, idle_s=None, total_s=None)
        try:
            async with asyncio.timeout(_CONNECT_S + answer_s):  # the pool's own limits hold only while it is swept
                reply = await pool.request(method, target.encode("ascii"), headers, body, timeouts)
            with reply:
                content = await _read(reply)
        except (ExchangeError, TimeoutError) as error:
            self._turn_on(turn)
            reason = str(error).replace("The upstream ", "Control at ")
            raise Away(reason or f"Control at {name} has not answered in time.") from error
        if reply.status == HTTPStatus.OK:
            self._refusing.clear()
            return content
        self._turn_on(turn)
        sentence = f"control at {name} answers with status {reply.status}: {_message(content)}"
        if reply.status in _FINAL:
            self._refusing.add(turn)
            raise Rejected(sentence)
        raise Away(sentence)

    async def aclose(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(pool.aclose() for pool in self._pools))

    def _turn_on(self, turn: int) -> None:
        if self._turn == turn:
            self._turn = (turn + 1) % len(self._pools)


async def _read(reply: Reply) -> bytes:
    """Return a body, however long it takes, as long as some of it comes."""
    parts: list[bytes] = []
    size = 0
    while True:
        async with asyncio.timeout(_SILENCE_S):
            part = await reply.chunk()
        if not part:
            return b"".join(parts)
        parts.append(part)
        size += len(part)
        if size > _MAX_ANSWER:
            raise Away(f"the answer of control is over {_MAX_ANSWER} bytes")


def _message(content: bytes) -> str:
    """Return what an error body of the admin API says, or the beginning of what else it is."""
    try:
        return msgspec.json.decode(content, type=_ErrorBody).error.message
    except msgspec.DecodeError:
        return content[:200].decode(errors="replace")
