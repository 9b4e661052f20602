"""Asking one engine process how it is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock.http.pool import Pool, Timeouts
from penstock.node.engines.engine import Engine
from penstock.node.health import Effort, Observation
from penstock.types.address import Address
from penstock.types.errors import ExchangeError

_MAX_BODY = 1024 * 1024
_TICKS = os.sysconf("SC_CLK_TCK")
_JSON = b"content-type: application/json\r\n"


class Probe:
    """
    One process, over its Unix socket. Belongs to its replica; used by one task at a time.

    Args:
        pid: the process whose effort is read.
        answer_s: how long to wait for an answer to a probe.
        clock: seconds, monotonic.
    """

    def __init__(self, engine: Engine, socket: Path, pid: int, answer_s: float, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._answer_s = answer_s
        self._stat = Path(f"/proc/{pid}/stat")
        self._clock = clock
        self._pool = Pool(Address(unix=os.fspath(socket)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.aclose()

    async def healthy(self) -> bool:
        """Whether the engine says that it can take requests."""
        reply = await self._ask(b"GET", b"/health", b"", self._answer_s)
        return reply is not None and reply[0] == 200

    async def generate(self, body: bytes, limit_s: float) -> str:
        """Have one token generated; return '' when it was, else what is wrong."""
        reply = await self._ask(b"POST", b"/v1/completions", body, limit_s)
        if reply is None:
            return "the engine did not answer its first request"
        status, answer = reply
        if status != 200 or not self._engine.generated(answer):
            return f"the engine answered its first request with status {status} and no token"
        return ""

    async def observe(self) -> Observation:
        """Look at the engine's counters and effort; takes at most `answer_s`."""
        reply = await self._ask(b"GET", b"/metrics", b"", self._answer_s)
        progress = self._engine.progress(reply[1]) if reply is not None and reply[0] == 200 else None
        return Observation(at=self._clock(), progress=progress, effort=self.effort())

    def effort(self) -> Effort:
        """What the process has used so far; nothing when it has gone."""
        try:
            fields = self._stat.read_bytes().rpartition(b")")[2].split()
        except OSError:
            return Effort(0.0)
        majflt, utime, stime = (int(fields[index]) for index in (9, 11, 12))  # see proc(5)
        return Effort((utime + stime) / _TICKS, majflt)

    async def _ask(self, method: bytes, path: bytes, body: bytes, limit_s: float) -> tuple[int, bytes] | None:
        """Return status and body; None when no whole answer came in time."""
        self._pool.sweep()
        headers = _JSON if body else b""
        timeouts = Timeouts(connect_s=limit_s, first_byte_s=limit_s, idle_s=limit_s, total_s=limit_s)
        try:
            async with asyncio.timeout(limit_s):
                with await self._pool.request(method, path, headers, body, timeouts) as reply:
                    return reply.status, await reply.read(_MAX_BODY)
        except (ExchangeError, TimeoutError):
            return None
