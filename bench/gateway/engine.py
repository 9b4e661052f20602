"""
The streaming upstream: events as vLLM sends them, each stream at its own constant pace.

A stream begins at once with the role and the first token, so that the time to the first token is that of the gateway.
As many tokens come as the request's `max_tokens` says, one each gap, then the finish reason, the usage if it was asked
for, and `[DONE]`. Whatever is not a stream gets a ready answer.

`python -m bench.gateway.engine PORT GAP_MS`
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httptools
import uvloop

from bench.gateway import process
from bench.gateway.probe import await_answer
from penstock.lab.running import free_port

_TOKENS = 100  # of a stream whose request names no maximum
_MAXIMUM = re.compile(rb'"max_(?:completion_)?tokens"\s*:\s*(\d+)')
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_SPOKEN = (
    " the", " a", " to", ",", " and", " balance", "r", " of", " requests", ".", " each", " in", " gateway", " is",
    "\n\n", " so", " that", " naïve", " 1", "2",
)  # fmt: skip


def _event(identity: str, choices: list[object], **more: object) -> bytes:
    chunk = {
        "id": identity,
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "chat",
        "choices": choices,
        **more,
    }
    return b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode()


def _choice(delta: dict[str, str], finish: str | None = None) -> list[object]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Script:
    """The bytes of one stream, made once and played often; a few of them differ, as the ids of real ones do."""

    def __init__(self, chance: random.Random) -> None:
        identity = f"chatcmpl-{chance.getrandbits(128):032x}"
        self.tokens = [_framed(_event(identity, _choice({"content": word}))) for word in _SPOKEN]
        self.role = _framed(_event(identity, _choice({"role": "assistant", "content": ""})))
        self.finish = _framed(_event(identity, _choice({}, "stop")))
        usage = {"prompt_tokens": 43, "completion_tokens": _TOKENS, "total_tokens": 43 + _TOKENS}
        self.usage = _framed(_event(identity, [], usage=usage))
        self.end = _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Stream(asyncio.Protocol):
    """One connection of a gateway."""

    gap_s = 0.02
    scripts: tuple[Script, ...] = ()
    answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._body = b""

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if not _STREAM.search(body):
            self._transport.write(self.answer)
            return
        maximum = _MAXIMUM.search(body)
        self._left = int(maximum[1]) if maximum else _TOKENS
        self._usage = bool(_USAGE.search(body))
        self._script = random.choice(self.scripts)
        self._due = self._loop.time()
        script = self._script
        self._write(_HEAD + script.role + script.tokens[0])

    def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(data)
        self._left -= 1
        self._due += self.gap_s
        self._loop.call_at(self._due, self._next)

    def _next(self) -> None:
        script = self._script
        if self._left > 0:
            self._write(script.tokens[self._left % len(script.tokens)])
        elif not self._transport.is_closing():
            self._transport.write(script.finish + (script.usage if self._usage else b"") + script.end)


async def _serve(port: int, gap_s: float) -> None:
    chance = random.Random(5)
    Stream.gap_s = gap_s
    Stream.scripts = tuple(Script(chance) for _ in range(16))
    message = {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 2, "total_tokens": 22}
    whole = {"id": "chatcmpl-0", "object": "chat.completion", "created": 1700000000, "model": "chat"}
    body = json.dumps({**whole, "choices": [message], "usage": usage}).encode()
    Stream.answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )
    loop = asyncio.get_running_loop()
    await loop.create_server(Stream, "127.0.0.1", port, backlog=4096)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


@contextlib.contextmanager
def upstream(core: int, directory: Path, gap_ms: int) -> Iterator[int]:
    """Serve streams on a core; yields the port."""
    port = free_port()
    command = [sys.executable, "-m", "bench.gateway.engine", str(port), str(gap_ms)]
    running = process.spawn(command, core, directory, environ={"PYTHONPATH": str(process.ROOT)})
    try:
        await_answer(port, b"", "chat", running, directory)
        yield port
    finally:
        process.end(running)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]) / 1000))
