"""Letting exchanges in under limits, with the store near, full or away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from penstock.counters.counter import Ask, Grant, Refusal, StoreUnavailable
from penstock.counters.local import Local
from penstock.counters.tally import Tally
from penstock.gateway.admission.admission import Admission
from penstock.gateway.admission.decisions import Decisions
from penstock.gateway.admission.rules import Rules
from penstock.gateway.dialects import openai
from penstock.gateway.dialects.call import Call
from penstock.gateway.identity.caller import Caller
from penstock.snapshot.config import Limit, Measure, Outage
from penstock.types.dialect import Dialect
from penstock.types.errors import LimitReached, TokenLimitReached
from penstock.types.usage import Usage
from tests.counters.test_tally import Clock

ANN, BOB = Caller("ann", "red"), Caller("bob", "red")


def limit(
    measure: Measure, most: int, *per: str, outage: Outage = Outage.LOCAL_SHARE, policy: str = "default"
) -> Limit:
    return Limit(policy, per or ("key",), measure, most, outage)


def call(max_tokens: int | None = 10, prompt: str = "hi") -> Call:
    cap = "" if max_tokens is None else f', "max_tokens": {max_tokens}'
    body = f'{{"model": "m", "messages": [{{"role": "user", "content": "{prompt}"}}]{cap}}}'
    return openai.parse(Dialect.CHAT, body.encode())


class Away(Local):
    """A store that is away when told so."""

    away = False

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant] | Refusal:
        if self.away:
            raise StoreUnavailable
        return await super().take(asks)


class Host:
    """Workers of one host with one tally, and the numbers they publish."""

    def __init__(self, workers: int = 1) -> None:
        self.clock = Clock()
        tally = Tally(self.clock)
        self.registry = CollectorRegistry()
        self.stores = [Away(tally, number) for number in range(workers)]
        self.workers = [
            Admission(store, Decisions(CollectorRegistry() if number else self.registry), self.clock, self.sleep)
            for number, store in enumerate(self.stores)
        ]
        for worker in self.workers:
            worker.divide(workers)

    async def sleep(self, seconds: float) -> None:
        self.clock.now += seconds
        for worker in self.workers:
            worker.sweep()

    async def count(self, rules: Rules, worker: int = 0, caller: Caller = ANN, address: str = "192.0.2.1") -> int:
        """Return how many of many exchanges are let in."""
        admitted = 0
        for _ in range(100):
            try:
                await self.workers[worker].admit(rules, caller, call(), address)
                admitted += 1
            except LimitReached:
                continue
        return admitted

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def run(rules: Rules, *requests: tuple[Caller, str]) -> list[bool]:
    """Tell which of these are let in by one worker."""

    async def main() -> list[bool]:
        host = Host()
        found = []
        for caller, address in requests:
            try:
                await host.workers[0].admit(rules, caller, call(), address)
                found.append(True)
            except LimitReached:
                found.append(False)
        return found

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("per", "second", "third"),
    [
        (("key",), True, False),
        (("tenant",), False, False),
        (("model",), False, False),
        (("address",), True, True),
        (("key", "address"), True, True),
    ],
)
def test_each_subject_has_its_own_count(per: tuple[str, ...], second: bool, third: bool) -> None:
    rules = Rules("m", [limit(Measure.REQUESTS, 1, *per)])
    seen = run(rules, (ANN, "192.0.2.1"), (BOB, "192.0.2.2"), (ANN, "192.0.2.3"))
    assert seen == [True, second, third]


def test_the_addresses_of_one_ipv6_network_are_one_client() -> None:
    rules = Rules("m", [limit(Measure.REQUESTS, 1, "address")])
    assert run(rules, (ANN, "2001:db8::1"), (ANN, "2001:db8::ffff:2"), (ANN, "2001:db8:0:1::1"), (ANN, "")) == [
        True, False, True, True,
    ]  # fmt: skip


def test_models_with_the_same_policy_share_its_limits() -> None:
    async def main() -> None:
        host, worker = Host(), None
        worker = host.workers[0]
        limits = [limit(Measure.REQUESTS, 1)]
        await worker.admit(Rules("one", limits), ANN, call(), "")
        with pytest.raises(LimitReached):
            await worker.admit(Rules("two", limits), ANN, call(), "")
        await worker.admit(Rules("three", [limit(Measure.REQUESTS, 1, policy="other")]), ANN, call(), "")

    asyncio.run(main())


@given(st.integers(1, 30), st.sampled_from([Measure.REQUESTS, Measure.CONCURRENCY]), st.integers(1, 4))
def test_workers_together_let_in_what_the_limit_says(most: int, measure: Measure, workers: int) -> None:
    async def main() -> int:
        host = Host(workers)
        rules = Rules("m", [limit(measure, most)])
        return sum([await host.count(rules, worker) for worker in range(workers)])

    assert asyncio.run(main()) == most


async def _reached(host: Host, rules: Rules, of: Call) -> LimitReached:
    with pytest.raises(LimitReached) as caught:
        await host.workers[0].admit(rules, ANN, of, "")
    return caught.value


def test_what_is_refused_says_what_when_and_how_much() -> None:
    async def main() -> None:
        host = Host()
        rules = Rules("m", [limit(Measure.REQUESTS, 5, "key", "model"), limit(Measure.CONCURRENCY, 1)])
        held = await host.workers[0].admit(rules, ANN, call(), "")
        error = await _reached(host, rules, call())
        assert str(error) == "The limit of 1 requests at the same time for this key (policy default) is reached."
        assert (error.limit, error.remaining) == (None, 0)
        held.release(Usage())
        for _ in range(4):
            (await host.workers[0].admit(rules, ANN, call(), "")).release(Usage())
        error = await _reached(host, rules, call())
        assert (
            str(error) == "The limit of 5 requests per minute for this key and this model (policy default) is reached."
        )
        assert not isinstance(error, TokenLimitReached)
        assert (error.limit, error.remaining) == (5, 0)
        assert 59 < (error.retry_after or 0) <= 60.5
        labels = {"policy": "default", "per": "key+model", "measure": "requests"}
        assert host.metric("penstock_limits_reached_total", **labels) == 1

    asyncio.run(main())


def test_tokens_are_held_by_their_bound_and_counted_as_used() -> None:
    async def main() -> None:
        host = Host()
        bound = len(call().document.body) + 10
        rules = Rules("m", [limit(Measure.TOKENS, 3 * bound)])
        worker = host.workers[0]
        holds = [await worker.admit(rules, ANN, call(), "") for _ in range(3)]
        error = await _reached(host, rules, call())
        assert isinstance(error, TokenLimitReached)
        for hold in holds:
            hold.release(Usage(5, 3))
        host.clock.now += 1
        worker.sweep()
        assert (await worker.admit(rules, ANN, call(), "")).lines().split(b"\r\n")[:2] == [
            b"x-ratelimit-limit-tokens: %d" % (3 * bound),
            b"x-ratelimit-remaining-tokens: %d" % (2 * bound - 24),
        ]

    asyncio.run(main())


def test_what_is_left_is_told_in_anthropics_words_too() -> None:
    async def main() -> bytes:
        limits = [limit(Measure.REQUESTS, 200), limit(Measure.CONCURRENCY, 9), limit(Measure.TOKENS, 50_000)]
        hold = await Host().workers[0].admit(Rules("m", limits), ANN, call(), "")
        usual, lines = hold.lines(), hold.lines(1_700_000_000.2)
        assert lines.startswith(usual)
        return lines.removeprefix(usual)

    held = len(call().document.body) + 10
    assert asyncio.run(main()).decode().split("\r\n") == [
        "anthropic-ratelimit-requests-limit: 200",
        "anthropic-ratelimit-requests-remaining: 199",
        "anthropic-ratelimit-requests-reset: 2023-11-14T22:14:21Z",
        "anthropic-ratelimit-tokens-limit: 50000",
        f"anthropic-ratelimit-tokens-remaining: {50_000 - held}",
        "anthropic-ratelimit-tokens-reset: 2023-11-14T22:14:21Z",
        "",
    ]


def test_one_that_may_need_more_than_there_ever_is_waits_for_all_of_it_and_pays_what_it_used() -> None:
    async def main() -> None:
        host = Host()
        worker, rules = host.workers[0], Rules("m", [limit(Measure.TOKENS, 100)])
        small = await worker.admit(rules, ANN, call(1, ""), "")
        await _reached(host, rules, call(1_000_000))
        small.release(Usage(0, 0))
        big = await worker.admit(rules, ANN, call(None), "")
        big.release(Usage(100, 150))
        error = await _reached(host, rules, call(1, ""))
        assert error.remaining == 0

    asyncio.run(main())


def test_what_is_left_decreases_with_every_exchange() -> None:
    async def main() -> list[int]:
        host = Host(2)
        limits = [limit(Measure.REQUESTS, 1000), limit(Measure.REQUESTS, 200, "tenant"), limit(Measure.CONCURRENCY, 9)]
        rules, seen = Rules("m", limits), []
        for number in range(100):
            hold = await host.workers[0].admit(rules, ANN, call(), "")
            lines = dict(line.split(b": ") for line in hold.lines().split(b"\r\n") if line)
            assert lines[b"x-ratelimit-limit-requests"] == b"200"
            assert lines[b"x-ratelimit-reset-requests"] == b"60.5s"
            assert list(lines) == [f"x-ratelimit-{what}-requests".encode() for what in ("limit", "remaining", "reset")]
            seen.append(int(lines[b"x-ratelimit-remaining-requests"]))
            hold.release(Usage())
            if number % 10 == 9:
                await host.sleep(0.05)
        return seen

    assert asyncio.run(main()) == list(reversed(range(100, 200)))


def test_most_exchanges_of_a_busy_caller_are_decided_without_asking() -> None:
    async def main() -> float:
        host = Host(2)
        rules = Rules("m", [limit(Measure.REQUESTS, 10_000_000), limit(Measure.TOKENS, 1_000_000_000)])
        for _ in range(2000):
            (await host.workers[0].admit(rules, ANN, call(), "")).release(Usage(5, 5))
            await host.sleep(0.001)
        return (host.metric("penstock_limits_decided_total", by="lease") or 0) / 2000

    assert asyncio.run(main()) > 0.95


def test_callers_without_number_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.gateway.admission.known.MOST", 50)

    async def main() -> None:
        host = Host()
        rules = Rules("m", [limit(Measure.CONCURRENCY, 2), limit(Measure.REQUESTS, 500, "tenant")])
        for number in range(400):
            await host.workers[0].admit(rules, Caller(f"k{number}", "red"), call(), "")
        assert len(host.workers[0]._known) == 50
        again = await host.workers[0].admit(rules, Caller("k0", "red"), call(), "")  # let go and known to the store
        with pytest.raises(LimitReached):
            await host.workers[0].admit(rules, Caller("k0", "red"), call(), "")
        again.release(Usage())

    asyncio.run(main())


def test_all_keys_of_a_user_count_together() -> None:
    async def case() -> None:
        host = Host()
        rules = Rules("m", [limit(Measure.CONCURRENCY, 5, "user")])
        first, second = Caller("k1", "red", user="red/ann"), Caller("k2", "red", user="red/ann")
        assert await host.count(rules, caller=first) == 5
        assert await host.count(rules, caller=second) == 0
        assert await host.count(rules, caller=Caller("k3", "blue", user="blue/ann")) == 5
        assert await host.count(rules, caller=Caller("k4", "red", user="k4")) == 5

    asyncio.run(case())
