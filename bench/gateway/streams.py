"""
Load by many concurrent streams, each connection asking for the next when one has ended.

The first stream of each connection is cut short at random (by `max_tokens`), so that ends and beginnings are spread
over time from the start. Figures are of a window that begins when all connections have had an event.

`python -m bench.gateway.streams PORT FILE FIRST STREAMS SECONDS PID,PID...` prints JSON.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from bench.gateway import process, traffic

_EVENT = b"data: {"
_DONE = b"[DONE]"
_KEPT = len(_EVENT) - 1  # of one read, looked at again with the next: not enough for a whole mark
_LAST_CHUNK = b"0\r\n\r\n"
_RAMP_LIMIT_S = 30.0
_SETTLE_S = 1.0
_MARGIN_S = 60.0
_BATCH, _PAUSE_S = 20, 0.02  # connections are opened 20 at a time


class Figures(msgspec.Struct, frozen=True):
    """
    What a window of streaming showed.

    Attributes:
        first_ms: times to the first event of the streams that began and got it within the window, sorted.
        lost: connections that ended, or were refused.
        cpu_us: CPU time of the named processes per event; None when there were no events or no processes.
    """

    events_per_s: float
    cpu_us: float | None
    first_ms: list[float]
    lost: int
    streams: int


def load(
    port: int, requests: Path, first: int, streams: int, seconds: float, core: int, pids: tuple[int, ...]
) -> Figures:
    """Load a port from a process of its own on a core. Raises Unavailable."""
    command = [sys.executable, "-m", "bench.gateway.streams", str(port), str(requests), str(first)]
    command += [str(streams), str(seconds), ",".join(map(str, pids))]
    return msgspec.json.decode(process.told(command, core, seconds + _MARGIN_S), type=Figures)


class _Load:
    """What all connections share."""

    def __init__(self, pieces: list[traffic.Piece], first: int) -> None:
        self._pieces = pieces
        self._number = first
        self.events = 0
        self.lost = 0
        self.started = 0
        self.first_ms: list[float] = []
        self.counted_from = float("inf")

    def request(self, short: bool) -> bytes:
        """The next request; a short one asks for fewer tokens, in as many digits, so that its length stays right."""
        self._number += 1
        whole = self._pieces[self._number % len(self._pieces)].whole(self._number)
        if not short:
            return whole
        return whole.replace(*traffic.shorter(random.randrange(2, 100)))


class _Connection(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._began = 0.0
        self._fresh = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask(short=True)

    def _ask(self, *, short: bool = False) -> None:
        self._waiting, self._done, self._tail = True, False, b""
        self._began = time.perf_counter()
        self._transport.write(self._load.request(short))

    def data_received(self, data: bytes) -> None:
        load = self._load
        piece = self._tail + data
        events = piece.count(_EVENT)
        if events:
            load.events += events
            if self._waiting:
                self._waiting = False
                if self._began >= load.counted_from:
                    load.first_ms.append((time.perf_counter() - self._began) * 1e3)
                if self._fresh:
                    self._fresh = False
                    load.started += 1
        self._done = self._done or _DONE in piece
        self._tail = piece[-_KEPT:]
        if self._done and piece.endswith(_LAST_CHUNK):
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._load.lost += 1


async def _run(
    port: int, pieces: list[traffic.Piece], first: int, streams: int, seconds: float, pids: tuple[int, ...]
) -> Figures:
    load = _Load(pieces, first)
    loop = asyncio.get_running_loop()
    for number in range(streams):
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
        if number % _BATCH == _BATCH - 1:
            await asyncio.sleep(_PAUSE_S)
    until = time.perf_counter() + _RAMP_LIMIT_S
    while load.started < streams and time.perf_counter() < until:  # noqa: ASYNC110  an event would be set per read
        await asyncio.sleep(0.05)
    await asyncio.sleep(_SETTLE_S)
    events, cpu, load.counted_from = load.events, process.cpu_ns(pids), time.perf_counter()
    await asyncio.sleep(seconds)
    passed = time.perf_counter() - load.counted_from
    events, cpu = load.events - events, process.cpu_ns(pids) - cpu
    return Figures(
        events_per_s=events / passed,
        cpu_us=cpu / 1e3 / events if events and pids else None,
        first_ms=sorted(load.first_ms),
        lost=load.lost,
        streams=load.started,
    )


if __name__ == "__main__":
    _pids = tuple(int(pid) for pid in sys.argv[6].split(",") if pid)
    _figures = uvloop.run(
        _run(
            int(sys.argv[1]),
            traffic.read(Path(sys.argv[2])),
            int(sys.argv[3]),
            int(sys.argv[4]),
            float(sys.argv[5]),
            _pids,
        )
    )
    sys.stdout.buffer.write(msgspec.json.encode(_figures))
