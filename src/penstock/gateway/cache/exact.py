"""
The exact cache: the same tenant gets the same answer to the same request.

An exchange either is answered here, or goes on to an upstream with a `Recorder` in the place of its responder, which
keeps the answer. While it does, equal requests of the same tenant and worker wait for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry

from penstock.gateway.cache import directives
from penstock.gateway.cache.counts import Counts, Result
from penstock.gateway.cache.directives import Directives
from penstock.gateway.cache.flight import Flights, Lead
from penstock.gateway.cache.key import Keys, stateful
from penstock.gateway.cache.recorder import Recorder
from penstock.gateway.cache.rule import Rule
from penstock.gateway.cache.shelf import Shelf
from penstock.gateway.cache.store import Entry
from penstock.gateway.exchange import Exchange
from penstock.gateway.keepalive import HEADERS, KeepAlive
from penstock.journal.records import Outcome
from penstock.types.errors import NotCached

_OK = 200
_MISS, _BYPASS = b"x-penstock-cache: miss\r\n", b"x-penstock-cache: bypass\r\n"
_PIECE = 64 * 1024  # bytes of a stream that are written at once, so that a slow client is waited for


class ExactCache:
    """
    The cache of one worker.

    Args:
        pepper: the installation's secret.
        clock: seconds, monotonic.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        shelf: Shelf,
        registry: CollectorRegistry,
        pepper: bytes,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self.shelf = shelf
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
            NotCached: the client wants nothing else, and nothing is kept.
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
            found = self._fresh(await self.shelf.near(key), rule, asked)
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
            keep = partial(self._keep, exchange, rule, key)
            exchange.responder = Recorder(exchange.responder, account, rule.max_entry, keep)
        return False

    async def _from_others(
        self, exchange: Exchange, rule: Rule, key: bytes, asked: Directives
    ) -> tuple[Entry | None, Result]:
        """Take the answer of an equal request that is under way, or of another host; without one, lead."""
        account, shared = exchange.account, Result.EXACT
        lead: Entry | Lead | None = self._flights.lead(key, exchange.priority)
        if lead is None:
            # A stream is told that it is not forgotten while it waits, as it is while it waits for an upstream.
            with KeepAlive(exchange, self._clock) if exchange.call.stream else contextlib.nullcontext():
                lead = await self._flights.join(key, exchange.model.first_token_s, exchange.deadline, exchange.priority)
            shared = Result.SHARED
        if not isinstance(lead, Lead):
            return lead, shared
        account.lead = lead  # which releases it when it ends, however that is
        found = self._fresh(await self.shelf.far(key, rule.ttl_s), rule, asked)
        if found is not None:
            lead.land(found)
        return found, Result.EXACT

    def _fresh(self, entry: Entry | None, rule: Rule, asked: Directives) -> Entry | None:
        """Return an entry that is young enough for the policy, which may have changed since, and for the client."""
        if entry is None:
            return None
        age = self._now() - entry.at
        return entry if age < rule.ttl_s and age <= asked.max_age_s and len(entry.body) <= rule.max_entry else None

    def _keep(self, exchange: Exchange, rule: Rule, key: bytes, body: bytes | None) -> None:
        """Keep a complete answer, and give it to those that wait for it; None says that it is too large."""
        account = exchange.account
        entry = None if body is None else Entry(self._now(), body, exchange.admits)
        if entry is not None and account.deployment in rule.targets:
            self.shelf.put(key, entry, rule.ttl_s)
            self._counts.stored(exchange.model.name)
        if account.lead is not None:
            account.lead.land(entry)

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
