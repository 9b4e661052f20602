"""What the lab upstream saw: counters, requests in progress, clients that left, the last requests. All bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

MAX_REQUESTS = 200
MAX_DEPARTURES = 1000
MAX_BODY = 64 * 1024

State = Literal["reading", "waiting", "sending", "stalled"]


class Call:
    """
    One request being answered. Made by `Stats.begin`, ended by `Stats.end`.

    Attributes:
        id: the client's `x-request-id`, or a number of the lab's.
        events: content events handed to the socket so far.
        bytes: bytes of the answer handed to the socket so far; without the head where the server writes it.
        started: on the stats' clock, in seconds.
    """

    __slots__ = ("bytes", "events", "id", "model", "path", "started", "state")

    def __init__(self, number: str, path: str, started: float) -> None:
        self.id = number
        self.path = path
        self.started = started
        self.model = ""
        self.state: State = "reading"
        self.events = 0
        self.bytes = 0


class Departure(msgspec.Struct, frozen=True):
    """
    A client that left before its answer had ended.

    Attributes:
        state: what the lab was doing then.
        events: content events it had been sent.
        after_s: seconds since its request began.
    """

    id: str
    path: str
    model: str
    state: State
    events: int
    bytes: int
    after_s: float


class Received(msgspec.Struct, frozen=True):
    """
    A request as it came in. Nothing is hidden: this is a lab.

    Attributes:
        body: at most its first 64 KiB, of what was read.
        body_bytes: the body's length, also where it was not read; 0 if it was not announced then.
    """

    id: str
    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    body: bytes
    body_bytes: int

    def as_json(self) -> dict[str, object]:
        """Return what `GET /lab/requests` shows."""
        return {
            "id": self.id,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in self.headers.items()},
            "body": self.body.decode("utf-8", "replace"),
            "body_bytes": self.body_bytes,
        }


class Stats:
    """
    The memory of one upstream. `clock` gives seconds.

    Attributes:
        requests: whole heads received, those of `/lab/` left out.
        answered: answers that ended as ordered, ordered cuts included.
        aborted: clients that left before that.
        statuses: answers by the status that was ordered.
        bytes_received: bytes of request bodies.
        received: the last requests, oldest first.
        departures: the last clients that left, oldest first.
    """

    def __init__(self, clock: Callable[[], float], open_connections: Callable[[], int]) -> None:
        self._clock = clock
        self._open_connections = open_connections
        self._calls: set[Call] = set()
        self._waiters: list[asyncio.Event] = []
        self.reset()

    def reset(self) -> None:
        """Forget everything but the requests in progress."""
        self.requests = 0
        self.answered = 0
        self.aborted = 0
        self.bytes_received = 0
        self._bytes_ended = 0
        self.statuses: dict[int, int] = {}
        self.received: deque[Received] = deque(maxlen=MAX_REQUESTS)
        self.departures: deque[Departure] = deque(maxlen=MAX_DEPARTURES)

    @property
    def open_connections(self) -> int:
        """Connections that clients hold now."""
        return self._open_connections()

    @property
    def in_progress(self) -> int:
        """Requests whose answers have not ended."""
        return len(self._calls)

    @property
    def bytes_sent(self) -> int:
        """Bytes of answers handed to the socket, those in progress included."""
        return self._bytes_ended + sum(call.bytes for call in self._calls)

    @property
    def stalled(self) -> int:
        """Requests in an ordered silence."""
        return sum(call.state == "stalled" for call in self._calls)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The requests in progress."""
        return tuple(self._calls)

    def begin(self, number: str, path: str) -> Call:
        """Count a request."""
        call = Call(number, path, self._clock())
        self.requests += 1
        self._calls.add(call)
        self.changed()
        return call

    def keep(self, received: Received, read: int) -> None:
        """Remember a request, of whose body `read` bytes were read; what is kept of it is cut to its first part."""
        self.bytes_received += read
        if len(received.body) > MAX_BODY:
            received = msgspec.structs.replace(received, body=received.body[:MAX_BODY])
        self.received.append(received)

    def end(self, call: Call, status: int, *, left: bool) -> None:
        """Count an answer that has ended, or a client that left before that."""
        self._calls.discard(call)
        self._bytes_ended += call.bytes
        if left:
            self.aborted += 1
            after = self._clock() - call.started
            self.departures.append(
                Departure(call.id, call.path, call.model, call.state, call.events, call.bytes, after)
            )
        else:
            self.answered += 1
            self.statuses[status] = self.statuses.get(status, 0) + 1
        self.changed()

    def changed(self) -> None:
        """Wake those who wait in `until`."""
        for waiter in self._waiters:
            waiter.set()

    async def until(self, condition: Callable[[Stats], bool], limit_s: float = 10.0) -> None:
        """
        Wait until the condition holds. For tests; the limit is generous, not exact.

        Raises:
            TimeoutError: it did not come to hold; the message shows the counters.
        """
        waiter = asyncio.Event()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(limit_s):
                while not condition(self):
                    waiter.clear()
                    await waiter.wait()
        except TimeoutError as error:
            raise TimeoutError(f"the lab's counters stayed at {self.as_json()}") from error
        finally:
            self._waiters.remove(waiter)

    def as_json(self) -> dict[str, object]:
        """Return what `GET /lab/stats` shows."""
        return {
            "requests": self.requests,
            "answered": self.answered,
            "aborted": self.aborted,
            "in_progress": self.in_progress,
            "stalled": self.stalled,
            "open_connections": self.open_connections,
            "bytes_received": self.bytes_received,
            "bytes_sent": self.bytes_sent,
            "statuses": {str(status): number for status, number in sorted(self.statuses.items())},
            "departures": [msgspec.to_builtins(departure) for departure in self.departures],
        }
