"""
From a plan to a reply that has begun: which deployment and which endpoint is tried when, and what follows a failure.

Nothing of an answer has reached the client while this goes on, so every failure here may still become somebody else's
success. What went wrong on the way is in the exchange's explanation. What a failure means is decided in `verdicts`;
who may be asked at all is in `health`; which deployment is chosen, in `choosing`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Container

from penstock.counters.seats.seat import Seat
from penstock.gateway.exchange import Exchange
from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.place import Place
from penstock.gateway.upstream import verdicts
from penstock.gateway.upstream.asking import Asking
from penstock.gateway.upstream.choosing import Choosing
from penstock.gateway.upstream.ejection import candidates
from penstock.gateway.upstream.endpoint import Endpoint
from penstock.gateway.upstream.health import PATIENCE_S, Beginning, Health, Healths
from penstock.gateway.upstream.question import Question, Wording, question_of, signed, timeouts_of, wording_of
from penstock.gateway.upstream.rejection import rejection
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.upstream.verdicts import TRIES, Again, Blame, Failure
from penstock.gateway.view import Plan, View
from penstock.http.pool import Reply
from penstock.types.errors import (
    InvalidRequest,
    NoCapacity,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
)

_OK = 200
_UNAUTHORIZED = 401
_PLAIN_SHARE = 2 / 3  # of the time left that a plain answer may take where another deployment could be asked after it
_SPREAD_S = 0.1  # over which exchanges that have waited for the same moment are spread

Relay = Callable[[Exchange, Reply], Awaitable[None]]


class Dispatcher:
    """
    Sends exchanges to endpoints. One per worker; `view` and `changed` follow the worker's documents.

    Attributes:
        choosing: which deployment an exchange goes to.

    Args:
        clock: seconds, monotonic.
        chance: returns a number in [0, 1), uniformly random.
    """

    def __init__(
        self, seating: Seating, counts: Attempts, clock: Callable[[], float], chance: Callable[[], float]
    ) -> None:
        self._seating = seating
        self._counts = counts
        self._clock = clock
        self._chance = chance
        self._healths = Healths(counts, clock, chance)
        self.choosing = Choosing(self._healths, seating, counts, clock, chance)
        self._turn = 0
        self._changed = asyncio.Event()
        self.view: View | None = None

    def follow(self, view: View) -> None:
        """Take a new view; exchanges that wait for a replica look again."""
        self.view = view
        self._seating.follow(view)
        self._healths.follow(view.places)
        self.choosing.follow(view)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def wait_s(self, name: str) -> float:
        """Return after how many seconds it makes sense to ask a deployment; 0 when it may be asked now."""
        return self._healths.of(name).wait_s(self._clock())

    async def run(self, exchange: Exchange, plan: Plan, relay: Relay) -> None:
        """
        Try the plan's deployments, each at most once, until `relay` has taken a reply to its end.

        `relay` raises `UpstreamError` only while no content has reached the client.

        Raises:
            NoCapacity: no deployment has room, or may be asked now.
            UpstreamError: the most telling failure of those tried.
            InvalidRequest: none of them has such an operation, or words for what is asked.
            JournalError: nothing was dispatched, or what was answered could not be settled.
        """
        failures: list[Failure] = []
        tried: list[str] = []
        name = self.choosing.first(exchange, plan)
        full = False
        while name is not None:
            seat: Seat | None = None
            exchange.degraded = name != plan.first  # as it has failed or is not asked; to be full is not enough
            if plan.near and name != plan.home:  # which is worth a short wait: others would be told less
                name, seat = await self.choosing.seated(exchange, plan, name, tried, full)
                full = seat is None
            tried.append(name)
            last = len(tried) == len(plan.names) or not self.choosing.more(plan, tried)
            try:
                return await self._deployment(exchange, name, relay, last, seat)
            except UpstreamRejected as error:
                if error.final:
                    raise
                failures.append(error)
            except (NoCapacity, UpstreamError, InvalidRequest) as error:  # what one cannot express another may
                failures.append(error)
            following = self.choosing.next(plan, tried)
            if following is not None:
                exchange.account.explain("fallback", f"{name}: {failures[-1]}; next is {following}")
                self._counts.fell_back(name)
            name = following
        raise self.choosing.told(exchange, plan, tried, failures)

    async def _deployment(self, exchange: Exchange, name: str, relay: Relay, last: bool, seat: Seat | None) -> None:
        """
        Wait for a seat at the deployment, unless it has one, and keep it for as long as its endpoints are tried.

        Nobody waits for what has no words for the request: so these are looked for first where there may be a wait.
        """
        now, deadline = self._clock(), exchange.deadline
        exchange.first_token_deadline = min(now + exchange.model.first_token_s, deadline)
        exchange.attempt_deadline = deadline if last else now + _PLAIN_SHARE * (deadline - now)
        health = self._healths.of(name)
        wording: Wording | None = None
        if seat is None:
            place = self.choosing.place(exchange, name)
            seat = self._seating.kept(exchange, place)
            if seat is None:
                wording = wording_of(exchange, place) if place.provider is not None else None
                seat = await self._seating.seat(exchange, place, last)
        with seat:
            await self._tries(exchange, name, health, relay, last, wording)

    async def _tries(
        self, exchange: Exchange, name: str, health: Health, relay: Relay, last: bool, wording: Wording | None
    ) -> None:
        failed: dict[Endpoint, UpstreamError] = {}
        account, asking = exchange.account, Asking(exchange)
        lines = b"x-penstock-degraded: fallback\r\n" if exchange.degraded else b""
        health.budget.asked()
        for retries in range(TRIES):
            if health.wait_s(self._clock()):
                await self._turn_at(exchange, name, health, last)
            place = self.choosing.place(exchange, name)
            endpoint = self._choose(place, failed, asking)
            if endpoint is None:
                place, endpoint = await self._coming(exchange, name, failed, last, asking)
            if wording is None or wording.place is not place:
                wording = wording_of(exchange, place)
            question, wording = question_of(exchange, wording, endpoint.name), None
            account.deployment, account.price, account.priced = name, place.price, place.priced
            exchange.attempts += 1
            more = lines if exchange.attempts == 1 else lines + b"x-penstock-attempts: %d\r\n" % exchange.attempts
            exchange.answer_lines = place.answer_lines + more + question.admits
            exchange.admits = lines + question.admits
            account.open()
            try:
                return await self._attempt(exchange, place, question, asking, health, relay)
            except UpstreamError as error:
                if verdicts.pauses(error):
                    busy = sum(each.outstanding for each in place.endpoints)
                    health.pause(self._clock(), error.retry_after, busy)
                others = self._others(exchange, name, {*failed, endpoint})
                reason = verdicts.again(error, engine=place.engine, others=others, last=last)
                now = self._clock()
                barred = health.wait_s(now) > 0 and not (last and health.soon(now))
                if reason is Again.NO or retries == TRIES - 1 or barred:
                    raise
                if not verdicts.free(reason, error, engine=place.engine) and not health.budget.take(now):
                    account.explain("retry", f"{name}: none is left of its budget of retries")
                    self._counts.unpaid(name)
                    raise
                if reason is Again.REFUSED:
                    await self._back_off(exchange, retries, error)
                else:
                    failed[endpoint] = error
                self._counts.retried(name, reason)
        raise AssertionError("the last try returns or raises")

    async def _attempt(
        self, exchange: Exchange, place: Place, question: Question, asking: Asking, health: Health, relay: Relay
    ) -> None:
        """Ask the chosen endpoint once; what becomes of it is known to the endpoint and to the deployment's breaker."""
        account, endpoint, began = exchange.account, asking.endpoint, self._clock()
        ticket = health.breaker.admit(began)
        if ticket is None:
            raise self._not_now(place.name, health)
        answers = False
        blame: Blame | None = Blame.NOTHING  # of a client that leaves, say
        beginning: Beginning | None = None
        try:
            with asking:
                headers = question.headers
                if place.credential is not None:
                    headers += await signed(place.credential, question, exchange, endpoint, began)
                    began = self._clock()
                timeouts = timeouts_of(exchange, began)
                exchange.answering = beginning = health.answering(ticket, began, self._clock)
                with await endpoint.pool.request(b"POST", question.target, headers, question.body, timeouts) as reply:
                    if reply.status != _OK:
                        if reply.status == _UNAUTHORIZED and place.credential is not None:
                            place.credential.refused()
                        raise await rejection(account, endpoint.name, reply)
                    answers, now = True, self._clock()
                    asking.begun()
                    if len(place.endpoints) > 1:
                        endpoint.latency.add(now - began, now)
                    account.explain("upstream", f"{endpoint.name} answers after {int((now - began) * 1000)} ms")
                    await relay(exchange, reply)
                    # An answer that is longer than its model allows is nobody's fault.
                    if exchange.broken is not None and self._clock() < exchange.deadline:
                        blame = self._failed(exchange, place, endpoint, exchange.broken, began)
                    else:
                        blame = None
                        if len(self.choosing.replicas(exchange, place)) > 1:
                            endpoint.record.succeeded(self._clock())
        except UpstreamError as error:
            now = self._clock()
            if isinstance(error, UpstreamTimeout):
                if not answers:
                    endpoint.latency.add(now - began, now)
            elif not isinstance(error, UpstreamRejected):
                account.explain("upstream", f"{endpoint.name}: {error}")
            blame = self._failed(exchange, place, endpoint, error, began)
            raise
        finally:
            health.ended(ticket, blame, self._clock(), beginning)

    def _failed(
        self, exchange: Exchange, place: Place, endpoint: Endpoint, error: UpstreamError, began: float
    ) -> Blame:
        """Take note of a failure with the replica; return what it says about the deployment, behind content too."""
        now = self._clock()
        usual_s = exchange.model.first_token_s if exchange.call.stream else exchange.model.total_s
        blame = verdicts.blame(error, engine=place.engine, took_s=now - began, usual_s=usual_s)
        broken = blame is Blame.FAILED or isinstance(error, UpstreamFailed | UpstreamUnreachable)
        replicas = self.choosing.replicas(exchange, place)
        if broken and len(replicas) > 1 and endpoint.record.failed(now, error):
            self._counts.ejected(place.name)
        # It alone is left out, or had to be asked whatever it is like, for it keeps something; the others are well.
        alone = endpoint.record.until > now or (exchange.claim is not None and bool(exchange.claim.owner))
        if alone and any(other is not endpoint and other.record.until <= now for other in replicas):
            return Blame.NOTHING if blame is Blame.FAILED else blame
        return blame

    async def _turn_at(self, exchange: Exchange, name: str, health: Health, last: bool) -> None:
        """
        Wait until the deployment may be asked: for the end of a pause, if it is near and there is nobody else.

        Raises:
            NoCapacity: it may not be, or not soon enough.
        """
        began = now = self._clock()
        while wait_s := health.wait_s(now):
            until = min(exchange.first_token_deadline, began + PATIENCE_S)
            if not last or not health.soon(now) or now + wait_s >= until:
                raise self._not_now(name, health)
            if now == began:
                exchange.account.explain("pause", f"{name} is to be asked again in {wait_s:.1f} s")
            await asyncio.sleep(wait_s + self._chance() * _SPREAD_S)
            now = self._clock()

    def _not_now(self, name: str, health: Health) -> NoCapacity:
        return NoCapacity(f"the deployment {name} is not asked now", retry_after=health.wait_s(self._clock()))

    async def _back_off(self, exchange: Exchange, retries: int, error: UpstreamError) -> None:
        """
        Pause before the same provider is asked again.

        Raises:
            UpstreamError: this failure, when the time does not allow it.
        """
        pause_s = verdicts.backoff_s(retries, self._chance())
        if self._clock() + pause_s >= exchange.first_token_deadline:
            raise error
        await asyncio.sleep(pause_s)

    async def _coming(
        self, exchange: Exchange, name: str, failed: dict[Endpoint, UpstreamError], wait: bool, asking: Asking
    ) -> tuple[Place, Endpoint]:
        """
        Return where to send an exchange that has a seat and no endpoint (yet), waiting for a replica if `wait`.

        Raises:
            NoCapacity: there is nowhere.
            UpstreamError: there is nowhere any more; why the last endpoint failed.
        """
        while True:
            place = self.choosing.place(exchange, name)
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

    def _choose(self, place: Place, failed: Collection[Endpoint], asking: Asking) -> Endpoint | None:
        """
        Return an endpoint that has not failed this exchange, of those that are not left out for now: the one that can
        open what the exchange brings, or another, as the deployment is balanced.
        """
        self._turn += 1
        if len(place.endpoints) == 1:
            asking.endpoint = place.endpoints[0]
            return None if asking.endpoint in failed else asking.endpoint
        now = self._clock()
        left = candidates(place.endpoints, failed, now)
        if not left:
            return None
        asking.turn, asking.now = self._turn, now
        asking.workers = self.view.settings.workers if self.view is not None else 1
        opener = asking.opener
        opens = next((endpoint for endpoint in left if endpoint.name == opener), None) if opener else None
        asking.endpoint = opens or place.balance(left, asking)
        return asking.endpoint

    def _others(self, exchange: Exchange, name: str, failed: Container[Endpoint]) -> bool:
        with contextlib.suppress(NoCapacity):  # a reload has removed it
            return any(endpoint not in failed for endpoint in self.choosing.place(exchange, name).endpoints)
        return False
