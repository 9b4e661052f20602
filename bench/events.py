"""
Both ends of many slow streams, each a process that takes orders on standard input and answers in lines of JSON.

`upstream` sends events to all its streams at a rate that can be changed; each event has the time at which it was
written. `client` opens streams and says how late the events were. Both use the machine's monotonic clock. Raw protocols
without any error handling: they must cost less than what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from array import array
from collections.abc import Callable
from typing import cast

import uvloop

_TICK_S = 0.002
_MARK = b'"sent":"'
_DIGITS = 16  # of a time, so that it is found without parsing
_EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"lab",' + _MARK + b"%s"
    b'","choices":[{"index":0,"delta":{"content":" token"},"finish_reason":null}]}\n\n'
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CONNECTING = 64  # streams that are being opened at a time


def raise_descriptor_limit(wanted: int) -> int:
    """Let this process and its children open `wanted` descriptors, if we may; return how many it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _chunk(now: float) -> bytes:
    """Return an event written at `now`, in the chunked coding."""
    event = _EVENT % f"{now:.6f}".rjust(_DIGITS, "0").encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


class _Stream(asyncio.Protocol):
    """The upstream's end of a connection: every request is answered by a stream without an end."""

    def __init__(self, streams: set[_Stream]) -> None:
        self._streams = streams
        self.transport: asyncio.Transport | None = None
        self.full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST") and self.transport is not None:
            self.transport.write(_HEAD + _chunk(time.monotonic()))  # at once: a gateway may wait for the first event
            self._streams.add(self)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._streams.discard(self)


class Upstream:
    """Sends to every stream `rate` events a second, evenly spread over the streams."""

    def __init__(self) -> None:
        self.streams: set[_Stream] = set()
        self.rate = 1.0
        self.sent = self.skipped = 0

    async def send(self) -> None:
        """Send for ever."""
        turn: list[_Stream] = []
        began, position = time.monotonic(), 0.0
        while True:
            await asyncio.sleep(_TICK_S)
            now = time.monotonic()
            # As many streams are due as the rate says; what a delay has missed is made up for, up to a round.
            position += min(1.0, (now - began) * self.rate) * len(self.streams)
            began = now
            due, position = int(position), position % 1
            chunk = _chunk(now)
            while due > 0:
                if not turn:
                    turn = list(self.streams)
                    if not turn:
                        break
                batch, turn = turn[:due], turn[due:]
                due -= len(batch)
                for stream in batch:
                    if stream.full or stream.transport is None:
                        self.skipped += 1
                    else:
                        stream.transport.write(chunk)
                        self.sent += 1

    def obey(self, line: str) -> dict[str, int]:
        """Set the rate; return what was sent, and what was not because a stream took no more, since the last order."""
        self.rate = float(line)
        answer = {"streams": len(self.streams), "sent": self.sent, "skipped": self.skipped}
        self.sent = self.skipped = 0
        return answer


class _Reader(asyncio.Protocol):
    """The client's end of a stream."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tail = b""
        self.begun = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._client.request)

    def data_received(self, data: bytes) -> None:
        if not self.begun.done():
            if not data.startswith(b"HTTP/1.1 200"):
                self._client.refused = data[:300].decode(errors="replace")
            self.begun.set_result(None)
        now = time.monotonic()
        data = self._tail + data
        start = 0
        while (found := data.find(_MARK, start)) >= 0:
            start = found + len(_MARK) + _DIGITS
            if start > len(data):
                break
            self._client.late.append(now - float(data[found + len(_MARK) : start]))
        self._tail = data[found:] if found >= 0 else data[max(start, len(data) - len(_MARK) + 1) :]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's signature
        self._client.lost += 1
        if not self.begun.done():
            self.begun.set_result(None)


class Client:
    """Opens streams and notes how late each event is, in seconds."""

    def __init__(self, port: int, key: str) -> None:
        body = json.dumps(
            {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "Hello!"}]}
        ).encode()
        self._port = port
        self.request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (key.encode(), len(body), body)
        )
        self.late = array("d")
        self.lost = 0
        self.refused = ""

    async def open(self, streams: int) -> dict[str, object]:
        """Open so many; return when all have begun."""
        left = iter(range(streams))
        loop = asyncio.get_running_loop()

        async def opener() -> None:
            for _ in left:
                _, reader = await loop.create_connection(lambda: _Reader(self), "127.0.0.1", self._port)
                await reader.begun

        await asyncio.gather(*(opener() for _ in range(_CONNECTING)))
        return {"lost": self.lost, "refused": self.refused}

    async def measure(self, seconds: float) -> dict[str, object]:
        """Return what came in so many seconds, and how late, in milliseconds: in all and in the second half."""
        self.late = array("d")
        await asyncio.sleep(seconds / 2)
        first, self.late = self.late, array("d")
        await asyncio.sleep(seconds / 2)
        second, self.late = self.late, array("d")
        both = sorted((*first, *second))
        return {
            "events_per_s": round(len(both) / seconds),
            "late_ms": _quantiles(both),
            "second_half": _quantiles(sorted(second)),
            "lost": self.lost,
        }


def _quantiles(late: list[float]) -> dict[str, float]:
    if not late:
        return {}
    places = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return {
        **{name: round(late[int(len(late) * place)] * 1000, 2) for name, place in places.items()},
        "max": round(late[-1] * 1000, 2),
    }


async def _orders(obey: Callable[[str], object]) -> None:
    """Obey each line of standard input until it ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode():
        answer = obey(line)
        print(json.dumps(await answer if asyncio.iscoroutine(answer) else answer), flush=True)


async def _upstream() -> None:
    upstream = Upstream()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Stream(upstream.streams), "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    sending = asyncio.create_task(upstream.send())
    await _orders(upstream.obey)
    sending.cancel()


async def _client(port: int, key: str) -> None:
    client = Client(port, key)

    def obey(line: str) -> object:
        order, _, argument = line.partition(" ")
        return client.open(int(argument)) if order == "open" else client.measure(float(argument))

    await _orders(obey)


def main() -> int:
    """Entry of `python -m bench.events`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("end", choices=("upstream", "client"))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="")
    given = parser.parse_args()
    uvloop.run(_upstream() if given.end == "upstream" else _client(given.port, given.key))
    return 0


if __name__ == "__main__":
    sys.exit(main())
