"""
The exact cache: the same tenant gets the same answer to the same request.

An exchange either is answered here, or goes on to an upstream with a `Recorder` in the place of its responder, which
keeps the answer. While it does, equal requests of the same tenant wait for it: those of the same worker, those of other
workers of the host, where the node says who asks, and those of other hosts, where a Redis does.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry

from penstock.gateway.cache import directives
from penstock.gateway.cache.counts import Counts, Result, Unkept
from penstock.gateway.cache.directives import Directives
from penstock.gateway.cache.flight import Flights, Lead
from penstock.gateway.cache.host.pilot import Pilot
from penstock.gateway.cache.host.question import Taken
from penstock.gateway.cache.key import Keys, stateful
from penstock.gateway.cache.recorder import Recorder
from penstock.gateway.cache.room import Space
from penstock.gateway.cache.rule import Rule
from penstock.gateway.cache.shelf import Shelf
from penstock.gateway.cache.store import Entry
from penstock.gateway.exchange import Exchange
from penstock.gateway.keepalive import HEADERS, KeepAlive
from penstock.journal.records import Outcome
from penstock.types.errors import NotCached

_OK = 200
_MISS, _BYPASS = b"x-penstock-cache: miss\r\n", b"x-penstock-cache: bypass\r\n"
_WHY = {False: "larger than max_entry", True: "no room for more answers under way"}
_PIECE = 64 * 1024  # bytes of a stream that are written at once, so that a slow client is waited for


class ExactCache:
    """
    The cache of one worker.

    Args:
        pepper: the installation's secret.
        clock: seconds, monotonic.
        now: seconds since the epoch.
        pilot: asks the other workers of the host; None where there are none.
    """

    def __init__(
        self,
        shelf: Shelf,
        registry: CollectorRegistry,
        pepper: bytes,
        clock: Callable[[], float],
        now: Callable[[], float],
        pilot: Pilot | None = None,
    ) -> None:
        self.shelf = shelf
        self._pilot = pilot
        if pilot is not None:
            pilot.finds, pilot.room = shelf.near, shelf.room
        self._counts = Counts(registry, shelf)
        self._keys = Keys(pepper)
        self._flights = Flights(clock)
        self._clock = clock
        self._now = now

    async def answer(self, exchange: Exchange, rule: Rule, headers: Mapping[bytes, bytes]) -> bool:
        """
        Answer an exchange with what is kept, if it may be and something is.

        Else it leads the equal ones, as its account knows, and its responder keeps what it is answered.

        Args:
            headers: of the request.
        Returns:
            Whether it is answered, and settled.
        Raises:
            NotCached: the client wants nothing else, and nothing is kept here or in Redis.
            UpstreamTimeout: an equal request was waited for until the deadline.
            UpstreamRejected: an equal request that was waited for is refused.
            JournalError: the exchange could not be settled; nothing was sent.
        """
        state = stateful(exchange.call) or ("store" if rule.stores and exchange.call.stored else "")
        asked = directives.neither(state) if state else directives.read(headers.get(b"cache-control"))
        account, model = exchange.account, exchange.model.name
        key = self._keys.of(account.caller.tenant, rule.fingerprint, exchange.call, exchange.features)
        found: Entry | None = None
        result = Result.EXACT
        if asked.reads:
            found = self._fresh(self.shelf.near(key), rule, asked)
        if found is None and asked.only:
            if asked.reads:
                found = self._fresh(await self.shelf.far(key, rule.ttl_s), rule, asked)
            if found is None:
                self._counts.looked_up(model, Result.MISS)
                raise NotCached("no answer to this request is kept, and the client wants no other")
        if found is None and asked.reads and asked.keeps:
            found, result = await self._from_others(exchange, rule, key, asked)
        if found is not None:
            self._counts.looked_up(model, result)
            await self._replay(exchange, found, result)
            return True
        bypass = not (asked.reads and asked.keeps)
        self._counts.looked_up(model, Result.BYPASS if bypass else Result.MISS)
        account.explain("cache", f"bypass: {asked.words}" if bypass else "miss")
        exchange.cache_line = _BYPASS if bypass else _MISS
        if asked.keeps:
            account.space = space = self.shelf.room.space()
            keep = partial(self._keep, exchange, rule, key, space)
            exchange.responder = Recorder(exchange.responder, account, rule.max_entry, keep, space=space)
        return False

    def sweep(self) -> None:
        """Do what is periodic. Called every 0.1 s by the worker."""
        if self._pilot is not None:
            self._pilot.sweep()

    async def _from_others(
        self, exchange: Exchange, rule: Rule, key: bytes, asked: Directives
    ) -> tuple[Entry | None, Result]:
        """Take the answer of an equal request that is under way, or that is kept elsewhere; without one, lead."""
        account, began = exchange.account, self._now()
        lead = self._flights.lead(key, exchange.priority)
        if lead is None:
            with self._alive(exchange):
                joined = await self._flights.join(
                    key, exchange.model.first_token_s, exchange.deadline, exchange.priority
                )
            if not isinstance(joined, Lead):
                found = self._fresh(joined, rule, asked, began)  # the leader may have found what is kept elsewhere
                return found, Result.EXACT if found is None or found.at < began else Result.SHARED
            lead = joined
        account.lead = lead  # which releases it when it ends, however that is
        if self._pilot is None and not self.shelf.shared:
            return None, Result.MISS
        with self._alive(exchange):
            found = await self._from_elsewhere(exchange, rule, key, asked, lead, began)
        return found, Result.EXACT if found is None or found.at < began else Result.SHARED

    async def _from_elsewhere(
        self, exchange: Exchange, rule: Rule, key: bytes, asked: Directives, lead: Lead, began: float
    ) -> Entry | None:
        """Take the answer of another worker or host; without one, lead there, too."""
        patience_s, kept = exchange.model.first_token_s, True
        found: Entry | None = None
        if self._pilot is not None:
            since = self._now() - min(rule.ttl_s, asked.max_age_s)
            taken = await self._pilot.join(key, since, patience_s, exchange.deadline, exchange.priority, rule.max_entry)
            if isinstance(taken, Taken):
                found, kept = taken.entry, taken.kept
                if found is None:
                    lead.land(None)
                    return None
                if kept:
                    self.shelf.copy(key, found, rule.ttl_s)
            elif taken is not None:
                lead.above.append(taken)
        if found is None:
            patience_s = min(patience_s, exchange.deadline - self._clock())
            led = await self.shelf.lead(key, rule.ttl_s, exchange.priority, patience_s)
            if isinstance(led, Entry):
                found = led
            elif led is not None:
                lead.above.append(led)
        found = self._fresh(found, rule, asked, began)
        if found is not None:
            lead.land(found, kept=kept)
        return found

    def _alive(self, exchange: Exchange) -> contextlib.AbstractContextManager[object]:
        """A stream is told that it is not forgotten while it waits, as it is while it waits for an upstream."""
        return KeepAlive(exchange, self._clock) if exchange.call.stream else contextlib.nullcontext()

    def _fresh(self, entry: Entry | None, rule: Rule, asked: Directives, began: float = math.inf) -> Entry | None:
        """
        Return an entry that is young enough for the policy, which may have changed since, and for the client.

        Args:
            began: seconds since the epoch; what was answered since then is as new as what an upstream would say.
        """
        if entry is None or len(entry.body) > rule.max_entry:
            return None
        age = self._now() - entry.at
        return entry if entry.at >= began or (age < rule.ttl_s and age <= asked.max_age_s) else None

    def _keep(self, exchange: Exchange, rule: Rule, key: bytes, space: Space, body: bytes | None) -> None:
        """Keep a complete answer, and give it to those that wait for it; None says that there was no room for it."""
        account, model = exchange.account, exchange.model.name
        entry = None if body is None else Entry(self._now(), body, exchange.admits)
        kept = entry is not None and account.deployment in rule.targets
        if entry is None:
            self._counts.unkept(model, Unkept.NO_ROOM if space.full else Unkept.TOO_LARGE)
            if not account.settled:
                account.explain("cache", f"not kept: {_WHY[space.full]}")
        elif kept:
            self.shelf.put(key, entry, rule.ttl_s)
            self._counts.stored(model)
            if account.lead is None and self._pilot is not None:
                self._pilot.keeps(key)
        if account.lead is not None:
            account.lead.land(entry, kept=kept)

    async def _replay(self, exchange: Exchange, entry: Entry, result: Result) -> None:
        """Give a kept answer: the same bytes, or the same events; it costs nothing."""
        account, responder = exchange.account, exchange.responder
        age = max(0, int(self._now() - entry.at))
        shared = "the answer to an equal request that was under way"
        account.explain("cache", shared if result is Result.SHARED else f"exact, {age} s old")
        if exchange.call.stream:
            account.first_content = self._clock()
        account.settle(Outcome.ANSWERED, _OK)
        exchange.answer_lines = entry.admits
        exchange.cache_line = b"x-penstock-cache: exact\r\nage: %d\r\n" % age
        if not exchange.call.stream:
            lines = b"content-type: application/json\r\nx-penstock-cost-usd: 0.000000000\r\n"
            return await responder.send(_OK, exchange.headers() + lines, entry.body)
        if not responder.started:  # it was, if it waited long
            responder.start(_OK, exchange.headers() + HEADERS)
        for begin in range(0, len(entry.body), _PIECE):
            await responder.write(entry.body[begin : begin + _PIECE])
        await responder.end()
        return None
