"""Asking a gateway for its first answer, as often as it takes."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from bench.gateway import process, traffic
from bench.gateway.errors import Unavailable

LIMIT_S = 120.0
_EVERY_S = 0.01
_ANSWER_S = 10.0


def await_answer(
    port: int, headers: bytes, model: str, running: subprocess.Popen[bytes], directory: Path, limit_s: float = LIMIT_S
) -> None:
    """
    Ask until the answer is a chat completion.

    Raises:
        Unavailable: the process ended, or it took too long.
    """
    request = traffic.prepare(model, headers)[0]
    deadline, number, last = time.monotonic() + limit_s, 0, b""
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise Unavailable(f"ended with code {running.returncode}: {process.tail(directory)}")
        number += 1
        try:
            last = ask(port, request.whole(number))
        except OSError:
            time.sleep(_EVERY_S)  # nothing tells that somebody else's program has begun to listen
            continue
        if last.startswith(b"HTTP/1.1 200") and b"chat.completion" in last:
            return
        time.sleep(_EVERY_S)
    raise Unavailable(f"no good answer within {limit_s:.0f} s; the last was {last[:200]!r}; {process.tail(directory)}")


def check_stream(port: int, headers: bytes, model: str) -> None:
    """
    Ask for one short stream.

    Raises:
        Unavailable: it does not come, or not to its end.
    """
    request = traffic.prepare(model, headers, stream=True)[0].whole(0)
    answer = ask(port, request.replace(*traffic.shorter(2)), b"[DONE]")
    if b"[DONE]" not in answer:
        line = answer.split(b"\r\n", 1)[0].decode(errors="replace") or "nothing"
        raise Unavailable(f"a stream got {line} and not its end")


def ask(port: int, request: bytes, enough: bytes = b"chat.completion") -> bytes:
    """Send a request on a connection of its own and return what has come when `enough` is in it, or at the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as connection:
        connection.sendall(request)
        answer = b""
        deadline = time.monotonic() + _ANSWER_S
        while enough not in answer and time.monotonic() < deadline:
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
            if not answer.startswith(b"HTTP/1.1 200"[: len(answer)]):
                break  # an error; its first bytes say enough
        return answer
