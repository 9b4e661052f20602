"""
`make bench-steps`: what each step of the request path costs, in one process and without sockets.

The real server, gateway and pool run over transports that hand bytes to one another, so what is measured is our own
code and the interpreter; the system calls of a real exchange come on top and are in `make bench-gateway`. Every step is
timed by itself with the input that the whole has. CPU time per request in µs, the least and the median of several
rounds; compare within a run. `--json` prints raw figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import uvloop

from penstock.auth import keys
from penstock.auth.secrets import SecretRef
from penstock.counters.counter import Ask, Grant, Refusal
from penstock.counters.remote import Remote
from penstock.counters.seats.house import House
from penstock.counters.seats.usher import local
from penstock.counters.tally import Tally
from penstock.counters.waiting import TIMEOUT_S
from penstock.gateway.admission.admission import Admission
from penstock.gateway.admission.decisions import Decisions
from penstock.gateway.cache.exact import ExactCache
from penstock.gateway.cache.key import Keys
from penstock.gateway.cache.redis import Redis
from penstock.gateway.cache.shelf import Shelf
from penstock.gateway.cache.store import Entry
from penstock.gateway.dialects import openai
from penstock.gateway.exchange import Exchange
from penstock.gateway.identity.caller import Caller, Callers, authenticate
from penstock.gateway.metering.account import Account, Books, ExchangeLine
from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.metering.metrics import Metrics
from penstock.gateway.metering.queues import Queues
from penstock.gateway.serve import Gateway, serve
from penstock.gateway.shadow.shadows import Shadows
from penstock.gateway.upstream.asking import Asking
from penstock.gateway.upstream.attempt import Dispatcher
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.view import View, compile_view
from penstock.http.connection import Connection
from penstock.http.pool import Pool, Timeouts
from penstock.http.server import Request, Responder, Server
from penstock.http.upstream import Connection as UpstreamConnection
from penstock.journal.records import Outcome
from penstock.journal.segment import Writer
from penstock.pricing.period import Period
from penstock.pricing.price import Price, described
from penstock.snapshot.config import Budget, Config, Deployment, GatewaySettings, Limit, Measure, Model, Outage, Target
from penstock.snapshot.principals import KeyRecord
from penstock.telemetry.log import JsonHandler
from penstock.types.address import Address
from penstock.types.dialect import Dialect
from penstock.types.priority import Priority
from penstock.types.usage import Usage, UsageSource

PEPPER = b"p" * 32
VARIANTS = 64
CONNECTIONS = 32
_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "mock",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant",
        "content": "Hello! How can I help you today? This is about the length of a short answer from a model."}}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 26, "total_tokens": 46},
    },
    separators=(",", ":"),
).encode()  # fmt: skip
REPLY = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 01:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\nConnection: keep-alive\r\n\r\n%b" % (len(_ANSWER), _ANSWER)
)
BUDGET = {
    "HTTP, both legs": 17.0,
    "decode and patch": 2.0,
    "identity": 1.0,
    "limits and budgets": 6.0,
    "route": 3.0,
    "seat": 2.0,
    "exact cache": 4.0,
    "metering and journal": 6.0,
    "metrics": 3.0,
    "explanation and log record": 3.0,
}
"""µs per request that each step may take (the design's budget, system calls included)."""
LIMITS = tuple(
    Limit("default", per, measure, 10**9, Outage.LOCAL_SHARE)
    for per, measure in (
        (("key",), Measure.REQUESTS),
        (("key",), Measure.TOKENS),
        (("key",), Measure.CONCURRENCY),
        (("tenant",), Measure.REQUESTS),
        (("tenant",), Measure.TOKENS),
        (("tenant",), Measure.CONCURRENCY),
        (("model",), Measure.REQUESTS),
        (("address",), Measure.CONCURRENCY),
    )
)
BUDGETS = tuple(
    Budget(f"default {'+'.join(per)} {period}", "default", per, period, ("chat",), 10**15, Outage.DENY)
    for per, period in ((("key",), Period.DAY), (("tenant",), Period.MONTH), (("key", "model"), Period.TOTAL))
)


def bodies() -> list[bytes]:
    """Return chat requests of different lengths, as SDKs write them."""
    return [
        json.dumps(
            {
                "model": "chat",
                "messages": [
                    {"role": "system", "content": "You are a helpful assistant."},
                    {"role": "user", "content": "Tell me something about load balancing." + " Again." * (number % 16)},
                ],
                "max_tokens": 64,
                "temperature": 0.7,
            },
            separators=(",", ":"),
        ).encode()
        for number in range(VARIANTS)
    ]


class Wire:
    """A transport whose writes go to a function, and which is never slow."""

    def __init__(self, taker: Callable[[bytes], None]) -> None:
        self.write = taker

    def get_extra_info(self, name: str) -> object:
        """Return a peer, as sockets do."""
        return ("127.0.0.1", 1) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        """Take note of nothing."""

    def get_write_buffer_size(self) -> int:
        """Nothing waits."""
        return 0

    def is_closing(self) -> bool:
        """It stays."""
        return False

    def abort(self) -> None:
        """Do nothing."""

    close = pause_reading = resume_reading = abort


class _Dialer:
    """Connects to an upstream that answers every request at once with the same reply."""

    async def dial(self, make: Callable[[], UpstreamConnection], _limit_s: float | None) -> UpstreamConnection:
        loop, connection = asyncio.get_running_loop(), make()
        wire = Wire(lambda _: cast("None", loop.call_soon(connection.data_received, REPLY)))
        connection.connection_made(cast("asyncio.BaseTransport", wire))
        return connection

    def refresh(self) -> None:
        """Know of no other address."""


def instant(pool: Pool) -> Pool:
    """Put the upstream that answers at once behind a pool."""
    pool._dialer = cast("Any", _Dialer())  # noqa: SLF001  # the seam below it is the socket
    return pool


class Bench:
    """A gateway worker's parts, put together as the worker does, in a directory of its own."""

    def __init__(self, directory: Path, log: JsonHandler) -> None:
        self.key = keys.create(PEPPER)
        self.callers = Callers({self.key.id: KeyRecord(self.key.id, self.key.digest, "default")})
        known = self.callers.find(self.key.id.encode())
        assert known is not None
        self.caller = known[1]
        self.metrics = Metrics()
        self.log = log
        self.books = Books(
            Writer(directory, "gateway-0"), self.metrics, time.monotonic, log.lines("penstock.exchange", "exchange")
        )
        self.admission = Admission(_Node(), Decisions(self.metrics.registry), time.monotonic, asyncio.sleep)
        usher = local(House(time.monotonic), time.monotonic)
        self.seating = Seating(usher, Queues(self.metrics.registry, usher.waiting), time.monotonic)
        shelf = Shelf(_no_redis, time.time)
        self.cache = ExactCache(shelf, self.metrics.registry, PEPPER, time.monotonic, time.time)
        dispatcher = Dispatcher(self.seating, Attempts(self.metrics.registry), time.monotonic, random.random)
        shadows = Shadows(self.books, dispatcher, time.monotonic)
        self.gateway = Gateway(self.books, self.admission, self.cache, dispatcher, shadows, PEPPER, time.monotonic)
        self.view = self._view()
        self.gateway.follow(self.view)
        self.bodies = bodies()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAuthorization: Bearer {self.key.key}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: "
        self.requests = [head.encode() + b"%d\r\n\r\n%b" % (len(body), body) for body in self.bodies]

    def _view(self) -> View:
        address = Address(host="127.0.0.1", port=9, path="/v1")
        price = Price(10**9, 2 * 10**9).versioned("stack")
        deployment = Deployment("lab", "openai", "mock", False, price, 1024, 64, address)
        model = Model("chat", (Target("lab"),), (), 10.0, 120.0, 1, LIMITS, BUDGETS)
        config = Config(1, {"lab": deployment}, {"chat": model}, GatewaySettings())
        view = compile_view(config, self.callers, None, Endpoints({}, time.monotonic), {})
        instant(view.places["lab"].endpoints[0].pool)
        return view

    async def serve(self, handler: Callable[[Request, Responder], Awaitable[None]], count: int) -> None:
        """Send so many requests over all connections to a server with this handler, and wait for the answers."""
        loop = asyncio.get_running_loop()
        server = Server(handler, self.gateway.refuse)
        done: asyncio.Future[None] = loop.create_future()
        left = [count, count]  # to be sent, to be answered
        connections: list[Connection] = []

        def open_connection() -> None:
            connection = Connection(server, loop, False)
            connections.append(connection)

            def answered(_: bytes) -> None:
                left[1] -= 1
                if not left[1]:
                    done.set_result(None)
                send()

            def send() -> None:
                if left[0]:
                    left[0] -= 1
                    loop.call_soon(connection.data_received, self.requests[left[0] % VARIANTS])

            connection.connection_made(cast("asyncio.BaseTransport", Wire(answered)))
            send()

        for _ in range(min(CONNECTIONS, count)):
            open_connection()
        await done
        for connection in connections:
            connection.connection_lost(None)

    def steps(self) -> dict[str, Callable[[int], Awaitable[None]]]:
        """Return what is measured, each to be called with how many times."""
        return {
            "server leg": self.server_leg,
            "upstream leg": self.upstream_leg,
            "decode and patch": self.decode,
            "identity": self.identity,
            "limits and budgets": self.limits,
            "route": self.route,
            "seat": self.seat,
            "exact cache": self.look_up,
            "metering and journal": self.metering,
            "metrics": self.counting,
            "explanation and log record": self.telling,
            "whole": self.exchange,
        }

    async def exchange(self, count: int) -> None:
        await self.serve(partial(serve, self.gateway), count)

    async def server_leg(self, count: int) -> None:
        async def answer(_: Request, responder: Responder) -> None:
            await responder.send(200, b"content-type: application/json\r\n", _ANSWER)

        await self.serve(answer, count)

    async def upstream_leg(self, count: int) -> None:
        pool = instant(Pool(Address(host="127.0.0.1", port=9)))
        head, timeouts = b"content-type: application/json\r\n", Timeouts()

        async def caller() -> None:
            for number in range(count // CONNECTIONS):
                with await pool.request(b"POST", b"/v1", head, self.bodies[number % VARIANTS], timeouts) as reply:
                    await reply.read(10**6)

        await asyncio.gather(*(caller() for _ in range(CONNECTIONS)))

    async def decode(self, count: int) -> None:
        for number in range(count):
            openai.for_upstream(openai.parse(Dialect.CHAT, self.bodies[number % VARIANTS]), "mock", "max_tokens")

    async def identity(self, count: int) -> None:
        headers = {b"authorization": b"Bearer " + self.key.key.encode(), b"content-type": b"application/json"}
        for _ in range(count):
            authenticate(headers, self.callers, self.gateway.digest)

    async def limits(self, count: int) -> None:
        """Eight limits and three budgets: taken, told to the client, given back."""
        caller, route = self.caller, self.view.routes["chat"]
        rules, purse, at_ns = route.rules, route.purse, time.time_ns()
        assert rules is not None
        assert purse is not None
        calls, found = [openai.parse(Dialect.CHAT, body) for body in self.bodies], Usage(20, 26)
        for number in range(count):
            hold = await self.admission.admit(rules, caller, calls[number % VARIANTS], "127.0.0.1")
            hold.lines()
            reservation = await self.admission.reserve(purse, caller, 150_000, at_ns)
            reservation.lines()
            hold.release(found)
            reservation.settle(72_000)

    async def route(self, count: int) -> None:
        dispatcher, exchange = self.gateway.dispatcher, cast("Exchange", _Asking(self.caller))
        failed: dict[Any, Any] = {}
        for _ in range(count):
            route = self.view.routes["chat"]
            plan = dispatcher.choosing.draw(route)
            place = self.view.places[plan.names[0]]
            asking = Asking(exchange)
            dispatcher._choose(place, failed, asking)  # noqa: SLF001  # the decision itself
            with asking:
                continue

    async def seat(self, count: int) -> None:
        """A seat taken and given back, of those that lie idle in the worker."""
        place, seating = self.view.places["lab"], self.seating
        exchange = cast("Exchange", _Asking(self.caller))
        for _ in range(count):
            with await seating.seat(exchange, place, True):
                continue

    async def look_up(self, count: int) -> None:
        """The key of a request, and the answer that is kept under it."""
        made, shelf = Keys(PEPPER), self.cache.shelf
        calls = [openai.parse(Dialect.CHAT, body) for body in self.bodies]
        for call in calls:
            shelf.put(made.of("default", "f" * 32, call, b""), Entry(time.time(), _ANSWER), 3600)
        for number in range(count):
            assert shelf.near(made.of("default", "f" * 32, calls[number % VARIANTS], b"")) is not None

    async def metering(self, count: int) -> None:
        """The account with its two records; without the metrics and the log line, which are steps of their own."""
        caller = self.caller
        books = Books(self.books.journal, cast("Any", _NoMetrics()), time.monotonic)
        calls = [openai.parse(Dialect.CHAT, body) for body in self.bodies]
        price, found = Price(10**9, 2 * 10**9).versioned("stack"), Usage(20, 26, 0, UsageSource.UPSTREAM)
        priced = ("price", described(price))
        for number in range(count):
            call, now = calls[number % VARIANTS], time.monotonic()
            with Account(books, f"req-{number:032x}", caller, call, now, [caller.explained]) as account:
                account.estimate((price,))
                account.open()
                account.price, account.usage, account.deployment = price, found, "lab"
                account.priced = priced
                account.settle(Outcome.ANSWERED, 200)

    async def counting(self, count: int) -> None:
        usage, kind = Usage(20, 26, 0, UsageSource.UPSTREAM), ("chat", "openai", "chat", "lab", "answered")
        for _ in range(count):
            self.metrics.settled(kind, usage, 72_000, 0.012, None)
            self.metrics.responded(200)

    async def telling(self, count: int) -> None:
        """What the explanation and the log line add to an account."""
        write = self.log.lines("penstock.exchange", "exchange")
        for number in range(count):
            explanation = [("identity", "key x of tenant default"), ("route", "chat: lab")]
            explanation.append(("upstream", f"lab answers after {number * 1e-6:.3f} s"))
            line = ExchangeLine(f"req-{number:032x}", "k", "chat", "lab", 200, "answered", 20, 26, 72_000, 1.234)
            write(line)


class _Node(Remote):
    """A worker's end of the node's socket, up to the socket: what it says goes nowhere, what it asks is granted."""

    def __init__(self) -> None:
        super().__init__(time.monotonic, TIMEOUT_S, None)
        self.connection_made(cast("asyncio.BaseTransport", Wire(lambda _: None)))
        self._tally = Tally(time.monotonic)

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant] | Refusal:
        return self._tally.take(0, asks)


class _Asking:
    """What of an exchange is looked at when it takes a seat."""

    def __init__(self, caller: Caller) -> None:
        self.account = self
        self.caller = caller
        self.claim = None
        self.priority = Priority.NORMAL
        self.first_token_deadline = math.inf


def _no_redis(_: SecretRef) -> Redis:
    raise AssertionError("no Redis is configured")


class _NoMetrics:
    in_progress = 0

    def settled(self, *_: object) -> None:
        """Count nothing."""


def measure(count: int, rounds: int, only: str | None = None) -> dict[str, list[float]]:
    """Return µs of CPU per request, one figure for each round, by step; the steps take turns."""
    figures: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory, Path("/dev/null").open("w") as nowhere:
        log = JsonHandler("gateway 0", nowhere)

        async def run() -> None:
            bench = Bench(Path(directory), log)
            steps = {name: step for name, step in bench.steps().items() if only is None or name == only}
            for number in range(rounds + 1):
                for name, step in steps.items():
                    began = time.process_time()
                    await step(count)
                    if number:  # the first warms up
                        figures.setdefault(name, []).append((time.process_time() - began) / count * 1e6)

        uvloop.run(run())
        log.close()
    return figures


def table(figures: dict[str, list[float]]) -> str:
    """Return a Markdown table: budget, and the least and the median that each step took."""
    both = [sum(pair) for pair in zip(figures["server leg"], figures["upstream leg"], strict=True)]
    rows = {"HTTP, both legs": both, **{name: figures[name] for name in BUDGET if name in figures}}
    summed = [values for name, values in rows.items() if name != "exact cache"]  # the whole asks an upstream each time
    rows["sum of the steps, without the cache"] = [sum(values) for values in zip(*summed, strict=True)]
    rows["whole, with what joins the steps"] = figures["whole"]
    lines = ["| step | budget, µs | least, µs | median, µs |", "|---|---|---|---|"]
    for name, values in rows.items():
        budget = f"{BUDGET[name]:g}" if name in BUDGET else ""
        lines.append(f"| {name} | {budget} | {min(values):.1f} | {statistics.median(values):.1f} |")
    return "\n".join(lines)


def main() -> int:
    """Entry of `python -m bench.steps`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="requests in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--step", help="run this step alone, and print nothing but its figures; for profilers")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.count // CONNECTIONS * CONNECTIONS, given.rounds, given.step)
    print(json.dumps(figures, indent=1) if given.json or given.step else table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
