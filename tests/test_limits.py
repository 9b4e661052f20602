"""Limits over all workers of one host and of two, with workers killed, and who counts frozen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from penstock.lab.running import Running, start
from penstock.pricing.price import usd
from tests.crowd import BUDGET_NANO, ESTIMATES, STALL, Crowd, Serving, ask, body_of, estimate_nano, joined, stack
from tests.processes import PATIENCE_S, Lab, eventually
from tests.servers import RedisServer

pytestmark = pytest.mark.stack


@pytest.fixture(params=["alone", "with Redis and PostgreSQL", "on two hosts with Redis and PostgreSQL"])
def up(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Serving, Lab]]:
    environ, places = {}, ("local", "sqlite")
    if request.param != "alone":
        redis, postgres = request.getfixturevalue("redis"), request.getfixturevalue("postgres")
        environ, places = {"REDIS_URL": redis.url, "DATABASE_URL": postgres}, ("${REDIS_URL}", "${DATABASE_URL}")
    with ExitStack() as opened:
        lab = opened.enter_context(Lab())
        control = opened.enter_context(start(tmp_path / "one", stack(lab, *places), environ=environ))
        others = []
        if request.param.startswith("on two"):
            others.append(opened.enter_context(joined(tmp_path / "two", control, environ)))
        yield Serving(control, *others), lab


@pytest.fixture
def freed(request: pytest.FixtureRequest) -> Callable[[], None]:
    """Wait until what killed workers held is free: the node sees it at once, with Redis control has to see it first."""

    def wait() -> None:
        if "up" in request.fixturenames and request.node.callspec.params["up"] != "alone":
            with request.getfixturevalue("redis").client() as client:
                eventually(lambda: not client.keys("{penstock}:levels:*") + client.keys("{penstock}:sums:*"), "it")

    return wait


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Running]:
    with Lab() as lab, start(tmp_path, stack(lab)) as running:
        yield running


def test_of_many_at_once_exactly_as_many_are_let_in_as_the_limit_says(up: tuple[Serving, Lab]) -> None:
    running, lab = up

    async def main() -> None:
        for _ in range(3):
            async with Crowd(running, "places", 200, STALL) as crowd:
                assert await crowd.answered(waiting=24) == {429: 176}
                assert lab.stats()["in_progress"] == 24
            while lab.stats()["in_progress"]:  # noqa: ASYNC110  # the clients have left
                await asyncio.sleep(0.01)
        async with Crowd(running, "rate", 200) as crowd:
            assert await crowd.answered() == {200: 40, 429: 160}

    asyncio.run(main())


def test_what_a_killed_worker_held_is_free_and_what_it_spent_is_not(
    up: tuple[Serving, Lab], freed: Callable[[], None]
) -> None:
    running, _ = up

    async def main() -> None:
        async with Crowd(running, "rate", 60) as crowd:
            assert await crowd.answered() == {200: 40, 429: 20}
        async with Crowd(running, "places", 100, STALL) as crowd:
            assert await crowd.answered(waiting=24) == {429: 76}
            running.kill_workers()
        await asyncio.to_thread(freed)
        async with Crowd(running, "places", 100, STALL) as crowd:
            assert await crowd.answered(waiting=24) == {429: 76}
        async with Crowd(running, "rate", 20) as crowd:
            assert await crowd.answered() == {429: 20}

    asyncio.run(main())


def test_a_frozen_node_stalls_nobody(local: Running) -> None:
    running = local
    assert ask(running, "share").status_code == 200
    os.kill(running.process.pid, signal.SIGSTOP)
    try:
        # Leases may last a while yet.
        shared = eventually(
            lambda: found if "x-penstock-counters" in (found := ask(running, "share")).headers else None
        )
        assert (shared.status_code, shared.headers["x-penstock-counters"]) == (200, "local_share")
        assert {ask(running, "share").status_code for _ in range(20)} == {200}
        denied = eventually(lambda: found if (found := ask(running, "places")).status_code == 503 else None)
        assert denied.json()["error"]["code"] == "counters_unavailable"
        assert denied.headers["x-penstock-counters"] == "deny"
        assert denied.headers["retry-after"] == "1"
    finally:
        os.kill(running.process.pid, signal.SIGCONT)
    eventually(lambda: "x-penstock-counters" not in ask(running, "share").headers, "the node being asked again")
    eventually(lambda: ask(running, "places").status_code == 200)
    metrics = eventually(lambda: text if 'outages_total{action="deny"}' in (text := _metrics(running)) else None)
    assert 'penstock_counters_outages_total{action="local_share"}' in metrics
    assert 'penstock_limits_decided_total{by="store"}' in metrics


def test_a_redis_that_is_frozen_or_gone_stalls_nobody_on_any_host(tmp_path: Path) -> None:
    with ExitStack() as opened:
        redis, lab = opened.enter_context(RedisServer()), opened.enter_context(Lab())
        environ = {"REDIS_URL": redis.url}
        with start(tmp_path / "one", stack(lab, "${REDIS_URL}"), environ=environ) as control:
            with joined(tmp_path / "two", control, environ) as other:
                hosts, costs = (control, other), [0]
                for host in hosts:
                    assert [ask(host, model).status_code for model in ("share", "places", "money")] == [200] * 3
                for away, back in ((redis.freeze, redis.thaw), (redis.kill, redis.start)):
                    away()
                    for host in hosts:
                        _stalls_nobody(host, costs)
                    eventually(lambda: not _counters(control)["reachable"])
                    back()
                    eventually(lambda: _counters(control) == {"kind": "redis", "reachable": True, "detail": ""})
                    for host in hosts:
                        _counts_again(host, costs)
                    eventually(lambda: _thrift(redis) == (costs[0], 0), "every cost once in the sum, and no hold left")
            spent = _spent(control) - costs[0]

        async def main() -> None:
            async with Crowd(Serving(again), "money", 60, STALL) as crowd:
                left = (BUDGET_NANO - spent) // estimate_nano(body_of("money", STALL))
                assert await crowd.answered(waiting=left) == {429: 60 - left}

        with start(tmp_path / "one", stack(lab, "${REDIS_URL}"), environ=environ) as again:
            again.key = control.key
            asyncio.run(main())


def _stalls_nobody(host: Running, costs: list[int]) -> None:
    """Every limit and budget does what it says while its store is away, soon."""

    def told(model: str) -> set[str | None]:
        answers = [ask(host, model) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        if model == "thrift":
            costs[0] += sum(map(_cost, answers))
        return {answer.headers.get("x-penstock-counters") for answer in answers}

    eventually(lambda: "local_share" in told("share"), "it being away")
    began = time.monotonic()
    assert told("share") | told("thrift") <= {"local_share", None}, "leases may last a while yet"
    assert time.monotonic() - began < PATIENCE_S
    assert told("thrift") <= {"local_share"}
    for model in ("places", "money"):
        denied = eventually(lambda: found if (found := ask(host, model)).status_code == 503 else None, model)  # noqa: B023  # it is called within this turn
        assert denied.headers.get_list("x-penstock-counters") == ["deny"]
    metrics = eventually(lambda: text if 'outages_total{action="deny"}' in (text := _metrics(host)) else None)
    assert 'penstock_counters_outages_total{action="local_share"}' in metrics


def _counts_again(host: Running, costs: list[int]) -> None:
    """The store is asked again."""
    eventually(lambda: "x-penstock-counters" not in ask(host, "share").headers, "it being back")
    for model in ("places", "money"):
        eventually(lambda: ask(host, model).status_code == 200, model)  # noqa: B023  # it is called within this turn

    def asked() -> bool:  # of a worker that has not asked before, it may still be away
        answer = ask(host, "thrift")
        costs[0] += _cost(answer)
        return "x-penstock-counters" not in answer.headers

    eventually(asked, "a budget's store being back")


def _thrift(redis: RedisServer) -> tuple[int, int]:
    """Return what is spent, and what is held, of the budget of policy `thrift`."""
    with redis.client() as client:
        (name,) = client.keys("{penstock}:s:*thrift*")
        spent, held = client.hmget(name, "spent", "held")
    return int(spent or 0), int(held or 0)


def _counters(running: Running) -> dict[str, object]:
    found: dict[str, object] = json.loads(_admin(running, "/admin/v1/status"))["counters"]
    return found


def _metrics(running: Running) -> str:
    return httpx.get(f"{running.ops_url}/metrics", trust_env=False).text


def test_a_budget_of_so_many_estimates_lets_in_so_many_and_a_killed_worker_gives_its_own_back(
    up: tuple[Serving, Lab], freed: Callable[[], None]
) -> None:
    running, _ = up

    async def main() -> None:
        for _ in range(2):
            async with Crowd(running, "money", 200, STALL) as crowd:
                assert await crowd.answered(waiting=ESTIMATES) == {429: 200 - ESTIMATES}
                running.kill_workers()
            await asyncio.to_thread(freed)

    asyncio.run(main())


def test_what_is_spent_survives_workers_control_and_the_node(tmp_path: Path) -> None:
    with Lab() as lab:
        with start(tmp_path, stack(lab)) as running:
            key = running.key
            costs = [_cost(ask(running, "money", "one two three")) for _ in range(6)]
            assert all(costs)
            os.kill(running.pid_of("penstock gateway 0"), signal.SIGKILL)
            os.kill(running.pid_of("penstock control"), signal.SIGKILL)
            costs += [_cost(ask(running, "money", "one two")) for _ in range(4)]
            os.kill(running.process.pid, signal.SIGKILL)
        with start(tmp_path, stack(lab)) as running:
            running.key = key
            answer = ask(running, "money")
            left = BUDGET_NANO - sum(costs) - estimate_nano(body_of("money", "hi"))
            assert answer.headers["x-penstock-budget-remaining-usd"] == usd(left)
            costs.append(_cost(answer))
            while (answer := ask(running, "money", 'lab: {"completion_tokens": 10}')).status_code == 200:
                costs.append(_cost(answer))
            assert answer.json()["error"]["code"] == "insufficient_quota"
            assert answer.headers["x-should-retry"] == "false"
            assert sum(costs) <= BUDGET_NANO
            usage = json.loads(_admin(running, "/admin/v1/usage?model=money"))
            assert usage["totals"]["cost_nano"] == sum(costs)


def test_a_change_of_what_a_budget_is_for_refuses_nobody_meanwhile(up: tuple[Serving, Lab]) -> None:
    serving, _ = up
    running = serving.control
    assert ask(running, "money").status_code == 200
    path = running.home.root / "penstock.yaml"
    line = "  money: {targets: dear, policies: money}\n"
    path.write_text(path.read_text().replace(line, line + line.replace("money:", "more:")))
    seen: list[tuple[int, int]] = []

    def followed() -> bool:
        seen.append((ask(running, "money").status_code, ask(running, "more").status_code))
        return seen[-1][1] == 200

    eventually(followed, "the second model")
    for _ in range(10):
        followed()
    assert {first for first, _ in seen} == {200}
    assert {second for _, second in seen} == {404, 200}
    left = BUDGET_NANO - _spent(running) - estimate_nano(body_of("more", "hi"))
    told = ask(running, "more").headers["x-penstock-budget-remaining-usd"]
    assert _nano(told) <= left, "of both models; other workers may have leases yet"


def _spent(running: Running) -> int:
    totals: dict[str, int] = json.loads(_admin(running, "/admin/v1/usage"))["totals"]
    return totals["cost_nano"]


def _cost(response: httpx.Response) -> int:
    assert response.status_code == 200, response.text
    return _nano(response.headers["x-penstock-cost-usd"])


def _nano(dollars: str) -> int:
    whole, _, nano = dollars.partition(".")
    return int(whole) * 10**9 + int(nano)


def _admin(running: Running, path: str) -> bytes:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(running.home.admin_socket))) as client:
        return client.get(f"http://localhost{path}", timeout=60).content


def test_a_changed_limit_counts_on(up: tuple[Serving, Lab]) -> None:
    serving, _ = up
    running = serving.control

    async def codes() -> Counter[int]:
        async with Crowd(serving, "rate", 60) as crowd:
            return await crowd.answered()

    assert asyncio.run(codes()) == {200: 40, 429: 20}
    path = running.home.root / "penstock.yaml"
    path.write_text(path.read_text().replace("requests_per_minute: 40", "requests_per_minute: 50"))
    eventually(lambda: ask(serving.gateways[-1], "rate").status_code == 200, "the new limit")
    assert asyncio.run(codes()) == {200: 9, 429: 51}
