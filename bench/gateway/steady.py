"""
Open-loop load: requests leave at a constant rate, whether or not earlier ones have been answered.

A request's time runs from when it was due, so that waiting for a slow gateway is not left out. A kernel timer wakes the
loop at each due moment, which no event loop's timers in whole milliseconds could do.

`python -m bench.gateway.steady PORT FILE FIRST RATE SECONDS` prints the times in microseconds as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from bench.gateway import process, traffic

_CONNECTIONS = 64  # more than half load ever has in flight at a gateway that keeps up
_END = b"\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_TAIL_S = 2.0  # how long answers are waited for after the last request
_WARM_S = 0.5  # from the start, left out of the figures: connections are made, caches are warm afterwards
_MARGIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Times:
    """
    Attributes:
        micros: of each answered request, in microseconds, sorted.
        unanswered: sent or due and not answered well.
    """

    micros: list[float]
    unanswered: int


def load(port: int, requests: Path, first: int, rate: float, seconds: float, core: int) -> Times:
    """Load a port from a process of its own on a core. Raises Unavailable."""
    command = [sys.executable, "-m", "bench.gateway.steady", str(port), str(requests), str(first)]
    command += [f"{rate:.3f}", f"{seconds + _WARM_S:.3f}"]
    told = json.loads(process.told(command, core, seconds + _MARGIN_S))
    return Times(told["micros"], told["unanswered"])


def complete(answer: bytes) -> bool:
    """Tell whether these bytes are a whole answer: as long as it says, or to the last chunk."""
    head, end, body = answer.partition(_END)
    if not end:
        return False
    head = head.lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        return len(body) >= int(head[at + 17 :].split(b"\r\n", 1)[0])
    return answer.endswith(_LAST_CHUNK)


class _Timer:
    """A kernel timer that goes off at a constant rate; reading it says how often it has."""

    def __init__(self, every_ns: int) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self.descriptor = library.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        moments = (ctypes.c_long * 4)(*divmod(every_ns, 10**9), *divmod(every_ns, 10**9))
        if self.descriptor < 0 or library.timerfd_settime(self.descriptor, 0, ctypes.byref(moments), None):
            raise OSError(ctypes.get_errno(), "no kernel timer")

    def passed(self) -> int:
        try:
            return int.from_bytes(os.read(self.descriptor, 8), sys.byteorder)
        except BlockingIOError:
            return 0


def run(port: int, pieces: list[traffic.Piece], first: int, rate: float, seconds: float) -> Times:
    """Load a port from this process."""
    connections = {}
    for _ in range(min(_CONNECTIONS, max(8, int(rate)))):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        connections[connection.fileno()] = connection
    poll = select.epoll()
    for descriptor in connections:
        poll.register(descriptor, select.EPOLLIN)
    free = deque(connections.values())
    came: dict[int, bytes] = {}
    asked: dict[int, int] = {}  # by descriptor, which request is on its way there
    every = 1 / rate
    total = int(seconds * rate)
    warm = int(_WARM_S * rate)
    micros: list[float] = []
    clock = time.perf_counter
    timer = _Timer(int(every * 1e9))
    began = clock()
    poll.register(timer.descriptor, select.EPOLLIN)
    due = sent = answered = 0
    until = began + seconds + _TAIL_S
    while answered < total and clock() < until and connections:
        for descriptor, _ in poll.poll(0.1):
            if descriptor == timer.descriptor:
                due = min(total, due + timer.passed())
                continue
            connection = connections[descriptor]
            try:
                data = connection.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:  # its request, if it had one, stays unanswered
                poll.unregister(descriptor)
                del connections[descriptor]
                if descriptor not in asked:
                    free.remove(connection)
                continue
            if descriptor in came:
                data = came.pop(descriptor) + data
            if not complete(data):
                came[descriptor] = data
                continue
            answered += 1
            number = asked.pop(descriptor)
            if data.startswith(b"HTTP/1.1 200") and number >= warm:
                micros.append((clock() - began - (number + 1) * every) * 1e6)
            free.append(connection)
        while sent < due and free:
            connection = free.popleft()  # in turn, so that none idles until it is closed
            piece = pieces[sent % len(pieces)]
            asked[connection.fileno()] = sent
            connection.send(piece.whole(first + sent))
            sent += 1
    micros.sort()
    return Times(micros, total - warm - len(micros))


if __name__ == "__main__":
    times = run(
        int(sys.argv[1]), traffic.read(Path(sys.argv[2])), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
    )
    json.dump({"micros": [round(each, 1) for each in times.micros], "unanswered": times.unanswered}, sys.stdout)
