"""
From a plan to a reply that has begun: which endpoint is tried when, and which failures are tried again.

Nothing of an answer has reached the client while this goes on, so every failure here may still become somebody else's
success. What went wrong on the way is in the exchange's explanation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from penstock.gateway.exchange import Exchange
from penstock.gateway.routing.choose import least_outstanding
from penstock.gateway.upstream.endpoint import Endpoint
from penstock.gateway.view import Place, View
from penstock.http.pool import Reply, Timeouts
from penstock.types.errors import (
    NoCapacity,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
)

_OK = 200
_TRIES = 3  # per deployment: an engine that dies under every exchange is not to be fed one exchange for ever
_MAX_ERROR_BODY = 64 * 1024
_FINAL = frozenset({400, 413, 415, 422, 501})  # the request's own fault: another deployment would say the same


class Dispatcher:
    """Sends exchanges to endpoints. One per worker; `view` and `changed` follow the worker's documents."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turn = 0
        self._waiting: dict[str, int] = {}
        self._changed = asyncio.Event()
        self.view: View | None = None

    def follow(self, view: View) -> None:
        """Take a new view; exchanges that wait for a replica look again."""
        self.view = view
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def run(
        self, exchange: Exchange, plan: Sequence[str], relay: Callable[[Reply, Endpoint], Awaitable[None]]
    ) -> None:
        """
        Try the plan's deployments in order until `relay` has taken a reply to its end.

        `relay` raises `UpstreamError` only while nothing of an answer has reached the client.

        Raises:
            NoCapacity: no deployment has room.
            UpstreamError: the failure of the last one tried.
        """
        failure: NoCapacity | UpstreamError | None = None
        for position, name in enumerate(plan):
            last = position == len(plan) - 1
            try:
                return await self._deployment(exchange, name, relay, wait=last)
            except UpstreamRejected as error:
                if error.status in _FINAL:
                    raise
                failure = error
            except (NoCapacity, UpstreamError) as error:
                failure = error
            exchange.account.explain("fallback", f"{name}: {failure}")
        assert failure is not None, "a plan names at least one deployment"
        raise failure

    async def _deployment(
        self, exchange: Exchange, name: str, relay: Callable[[Reply, Endpoint], Awaitable[None]], *, wait: bool
    ) -> None:
        failed: list[Endpoint] = []
        exchange.first_token_deadline = min(self._clock() + exchange.model.first_token_s, exchange.deadline)
        for left in reversed(range(_TRIES)):
            place, endpoint = await self._endpoint(exchange, name, failed, wait=wait)
            account = exchange.account
            account.deployment, account.price = name, place.price
            account.open(place.price)
            try:
                with endpoint:
                    return await self._attempt(exchange, place, endpoint, relay)
            except (UpstreamUnreachable, UpstreamFailed) as error:
                account.explain("upstream", f"{endpoint.name}: {error}")
                endpoint.failed(self._clock())
                failed.append(endpoint)
                # A provider may have charged for what broke; an engine only lost its own work.
                if not left or not place.engine or not (wait or self._others(exchange, name, failed)):
                    raise
        raise AssertionError("the last try returns or raises")

    async def _attempt(
        self,
        exchange: Exchange,
        place: Place,
        endpoint: Endpoint,
        relay: Callable[[Reply, Endpoint], Awaitable[None]],
    ) -> None:
        call, now = exchange.call, self._clock()
        first = exchange.first_token_deadline if call.stream else exchange.deadline
        if now >= first:
            raise UpstreamTimeout("the deadline passed before the upstream could be asked")
        patience = exchange.model.first_token_s if call.stream else None
        timeouts = Timeouts(first_byte_s=first - now, idle_s=patience, total_s=exchange.deadline - now)
        headers = place.headers + b"x-request-id: " + exchange.id.encode() + b"\r\n" + exchange.trace
        body = place.provider.body(call, place.model)
        reply = await endpoint.pool.request(b"POST", place.provider.target(call.operation), headers, body, timeouts)
        async with reply:
            if reply.status != _OK:
                raise await _rejection(endpoint.name, reply)
            exchange.account.explain("upstream", f"{endpoint.name} answers after {self._clock() - now:.3f} s")
            await relay(reply, endpoint)

    async def _endpoint(
        self, exchange: Exchange, name: str, failed: Sequence[Endpoint], *, wait: bool
    ) -> tuple[Place, Endpoint]:
        """Return where to send the exchange, waiting for a replica that is coming if `wait`."""
        while True:
            # A deployment that a reload has removed is still known to the exchange's own view.
            place = (self.view or exchange.view).places.get(name) or exchange.view.places[name]
            endpoint = self._choose(place, failed)
            if endpoint is not None:
                if endpoint.outstanding >= place.slots:
                    raise NoCapacity(f"the deployment {name} is full", retry_after=1)
                return place, endpoint
            left = exchange.first_token_deadline - self._clock()
            if not wait or left <= 0 or not place.coming:
                problem = place.problem or "no replica is left to try"
                raise NoCapacity(f"the deployment {name} cannot answer now: {problem}", retry_after=2)
            await self._wait(name, place, left)

    async def _wait(self, name: str, place: Place, seconds: float) -> None:
        waiting = self._waiting.get(name, 0)
        if waiting >= place.slots:
            raise NoCapacity(f"the deployment {name} is starting and its queue is full", retry_after=2)
        self._waiting[name] = waiting + 1
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return  # the caller sees that its deadline has passed
        finally:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name]

    def _choose(self, place: Place, failed: Sequence[Endpoint]) -> Endpoint | None:
        now = self._clock()
        self._turn += 1
        warm = [endpoint for endpoint in place.endpoints if not endpoint.cool(now)]
        return least_outstanding(warm or place.endpoints, failed, self._turn)

    def _others(self, exchange: Exchange, name: str, failed: Sequence[Endpoint]) -> bool:
        place = (self.view or exchange.view).places.get(name)
        return place is not None and any(endpoint not in failed for endpoint in place.endpoints)


async def _rejection(name: str, reply: Reply) -> UpstreamRejected:
    """Return the upstream's error status as an error, with as much of its body as may be passed on."""
    try:
        body = await reply.read(_MAX_ERROR_BODY)
    except UpstreamError:
        body = b""  # the status says enough
    after = reply.headers.get(b"retry-after", b"")
    return UpstreamRejected(
        f"the upstream {name} answered with status {reply.status}",
        status=reply.status,
        body=body,
        retry_after=float(after) if after.isdigit() and len(after) < 6 else None,  # a date or a day is no hint
    )
