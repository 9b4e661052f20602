"""
From a plan to a reply that has begun: which endpoint is tried when, and which failures are tried again.

Nothing of an answer has reached the client while this goes on, so every failure here may still become somebody else's
success. What went wrong on the way is in the exchange's explanation.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Container, Mapping

from penstock.gateway.dialects.errors import kind_of
from penstock.gateway.exchange import Exchange
from penstock.gateway.metering.account import Account
from penstock.gateway.upstream.asking import Asking
from penstock.gateway.upstream.endpoint import Endpoint
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.view import Place, Plan, View
from penstock.http.pool import Reply, Timeouts
from penstock.types.errors import (
    InvalidRequest,
    NoCapacity,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamUnusable,
)

_OK = 200
_UNAUTHORIZED = 401
_TRIES = 3  # per deployment: an engine that dies under every exchange is not to be fed one exchange for ever
_CONNECT_S = 5.0
_MAX_ERROR_BODY = 64 * 1024
_ERROR_BODY_S = 1.0
_FINAL = frozenset({400, 413, 415, 422, 501})  # the request's own fault: another deployment would say the same

Relay = Callable[[Exchange, Reply], Awaitable[None]]


class Dispatcher:
    """Sends exchanges to endpoints. One per worker; `view` and `changed` follow the worker's documents."""

    def __init__(self, seating: Seating, clock: Callable[[], float]) -> None:
        self._seating = seating
        self._clock = clock
        self._turn = 0
        self._changed = asyncio.Event()
        self.view: View | None = None

    def follow(self, view: View) -> None:
        """Take a new view; exchanges that wait for a replica look again."""
        self.view = view
        self._seating.follow(view)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def run(self, exchange: Exchange, plan: Plan, relay: Relay) -> None:
        """
        Try the plan's deployments in order until `relay` has taken a reply to its end.

        `relay` raises `UpstreamError` only while no content has reached the client.

        Raises:
            NoCapacity: no deployment has room.
            UpstreamError: the failure of the last one tried.
            InvalidRequest: the last one tried has no such operation, or its dialect no words for what is asked.
            JournalError: nothing was dispatched, or what was answered could not be settled.
        """
        failure: NoCapacity | UpstreamError | InvalidRequest | None = None
        names = plan.names
        for position, name in enumerate(names):
            last = position == len(names) - 1
            try:
                return await self._deployment(exchange, name, relay, last)
            except UpstreamRejected as error:
                if error.status in _FINAL:
                    raise
                failure = error
            except (NoCapacity, UpstreamError, InvalidRequest) as error:  # what one cannot express another may
                failure = error
            if not last:
                exchange.account.explain("fallback", f"{name}: {failure}; next is {names[position + 1]}")
        assert failure is not None, "a plan names at least one deployment"
        raise failure

    async def _deployment(self, exchange: Exchange, name: str, relay: Relay, last: bool) -> None:
        """Wait for a seat at the deployment, and keep it for as long as its endpoints are tried."""
        exchange.first_token_deadline = min(self._clock() + exchange.model.first_token_s, exchange.deadline)
        with await self._seating.seat(exchange, self._place(exchange, name), last):
            await self._endpoints(exchange, name, relay, last)

    async def _endpoints(self, exchange: Exchange, name: str, relay: Relay, wait: bool) -> None:
        failed: dict[Endpoint, UpstreamError] = {}
        account, asking = exchange.account, Asking(exchange)
        for left in reversed(range(_TRIES)):
            place = self._place(exchange, name)
            endpoint = self._choose(place, failed, asking)
            if endpoint is None:
                place, endpoint = await self._coming(exchange, name, failed, wait, asking)
            account.deployment, account.price, account.priced = name, place.price, place.priced
            exchange.answer_lines = place.answer_lines
            account.open()
            answers, began = False, self._clock()
            try:
                with endpoint, asking:
                    target, headers, body = self._asked(exchange, place)
                    if place.credential is not None:
                        signed, left_s = endpoint.address.path.encode() + target, self._first_s(exchange, self._clock())
                        headers += await place.credential.lines(b"POST", endpoint.pool.host, signed, body, left_s)
                    began = self._clock()
                    timeouts = self._timeouts(exchange, began)
                    with await endpoint.pool.request(b"POST", target, headers, body, timeouts) as reply:
                        if reply.status != _OK:
                            if reply.status == _UNAUTHORIZED and place.credential is not None:
                                place.credential.refused()
                            raise await _rejection(account, endpoint.name, reply)
                        answers, now = True, self._clock()
                        asking.begun()
                        if len(place.endpoints) > 1:
                            endpoint.latency.add(now - began, now)
                        account.explain("upstream", f"{endpoint.name} answers after {int((now - began) * 1000)} ms")
                        return await relay(exchange, reply)
            except UpstreamTimeout:
                if not answers:
                    now = self._clock()
                    endpoint.latency.add(now - began, now)
                raise
            except UpstreamUnusable as error:
                account.explain("upstream", f"{endpoint.name}: {error}")
                raise
            except (UpstreamUnreachable, UpstreamFailed) as error:
                account.explain("upstream", f"{endpoint.name}: {error}")
                endpoint.failed(self._clock())
                failed[endpoint] = error
                # A provider may have charged for what broke; an engine only lost its own work.
                if not left or not place.engine or not (wait or self._others(exchange, name, failed)):
                    raise
        raise AssertionError("the last try returns or raises")

    def _asked(self, exchange: Exchange, place: Place) -> tuple[bytes, bytes, bytes]:
        """Return what the upstream is asked: target, header lines and body."""
        call, provider = exchange.call, place.provider
        assert provider is not None, "a place without a provider has no endpoint"
        exchange.account.provider = provider.name
        exchange.counts_first_choice = place.engine and call.choices > 1
        way = place.ways.get(call.dialect)
        if way is None:
            raise InvalidRequest(f"the deployment {place.name} has no such operation", code="unsupported_operation")
        headers = place.headers + exchange.id_line + exchange.trace
        if way.translation is None:
            exchange.translation = None
            headers += exchange.features
            body = exchange.spoken.for_upstream(call, place.model, place.cap_name if exchange.capped else None)
        else:
            exchange.translation = translation = way.translation(call, place.model, place.cap_name, exchange.capped)
            body = translation.request()
            if translation.dropped:
                exchange.account.explain("translation", f"left out for {place.name}: {', '.join(translation.dropped)}")
        return provider.target(way.dialect), headers, body

    def _first_s(self, exchange: Exchange, now: float) -> float:
        """Return how long the beginning of an answer may still take."""
        first_s = (exchange.first_token_deadline if exchange.call.stream else exchange.deadline) - now
        if first_s <= 0:
            raise UpstreamTimeout("the deadline passed before the upstream could be asked")
        return first_s

    def _timeouts(self, exchange: Exchange, now: float) -> Timeouts:
        first_s = self._first_s(exchange, now)
        return Timeouts(
            connect_s=min(_CONNECT_S, first_s),
            first_byte_s=None,
            head_s=first_s,
            idle_s=exchange.model.first_token_s if exchange.call.stream else None,
            total_s=exchange.deadline - now,
        )

    def _place(self, exchange: Exchange, name: str) -> Place:
        # A deployment that a reload has removed is still known to the exchange's own view.
        place = (self.view or exchange.view).places.get(name) or exchange.view.places.get(name)
        if place is None:
            raise NoCapacity(f"the deployment {name} does not exist", retry_after=2)
        return place

    async def _coming(
        self, exchange: Exchange, name: str, failed: Mapping[Endpoint, UpstreamError], wait: bool, asking: Asking
    ) -> tuple[Place, Endpoint]:
        """
        Return where to send an exchange that has a seat and no endpoint (yet), waiting for a replica if `wait`.

        Raises:
            NoCapacity: there is nowhere.
            UpstreamError: there is nowhere any more; why the last endpoint failed.
        """
        while True:
            place = self._place(exchange, name)
            endpoint = self._choose(place, failed, asking)
            if endpoint is not None:
                return place, endpoint
            left = exchange.first_token_deadline - self._clock()
            if not wait or left <= 0 or not place.coming:
                if failed:
                    raise list(failed.values())[-1]
                exchange.account.explain("replica", place.problem)
                raise NoCapacity(f"the deployment {name} cannot answer now", retry_after=2)
            with contextlib.suppress(TimeoutError):  # then the deadline has passed
                async with asyncio.timeout(left):
                    await self._changed.wait()

    def _choose(self, place: Place, failed: Container[Endpoint], asking: Asking) -> Endpoint | None:
        """Return an endpoint that has not failed this exchange; one that has just failed another only if it must be."""
        self._turn += 1
        if len(place.endpoints) == 1:
            return None if place.endpoints[0] in failed else asking.chosen(place.endpoints[0])
        now = self._clock()
        left = [endpoint for endpoint in place.endpoints if endpoint not in failed]
        warm = [endpoint for endpoint in left if not endpoint.cool(now)]
        candidates = warm or left
        if not candidates:
            return None
        asking.turn, asking.now = self._turn, now
        asking.workers = self.view.settings.workers if self.view is not None else 1
        return asking.chosen(place.balance(candidates, asking))

    def _others(self, exchange: Exchange, name: str, failed: Container[Endpoint]) -> bool:
        place = (self.view or exchange.view).places.get(name)
        return place is not None and any(endpoint not in failed for endpoint in place.endpoints)


async def _rejection(account: Account, name: str, reply: Reply) -> UpstreamRejected:
    """Explain the upstream's error status and return it as an error, with as much of its body as may be passed on."""
    body = b""  # where it does not come, the status says enough
    with contextlib.suppress(UpstreamError, TimeoutError):
        async with asyncio.timeout(_ERROR_BODY_S):
            body = await reply.read(_MAX_ERROR_BODY)
    after = reply.headers.get(b"retry-after", b"")
    rejection = UpstreamRejected(
        f"the upstream {name} answered with status {reply.status}",
        status=reply.status,
        body=body,
        retry_after=float(after) if after.isdigit() and len(after) < 6 else None,  # a date or a day is no hint
    )
    account.explain("upstream", f"{rejection}{kind_of(body)}")
    return rejection
