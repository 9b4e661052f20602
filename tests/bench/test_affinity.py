"""The simulation by which ways to choose a replica are compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.affinity.__main__ import simulate
from bench.affinity.simulation import MADE_S, READ_S, Cache, Setting, Simulation, cached, ideal
from bench.affinity.trace import BLOCK, Request, prefix_of, requests

from penstock.gateway.routing.prefix import ENDS
from penstock.gateway.routing.ways import WAYS
from penstock.snapshot.config import Balance


def request(at_s: float, *blocks: int, made: int = 10) -> Request:
    size = len(blocks) * BLOCK
    return Request(at_s, size, made, blocks, prefix_of(blocks, 4 * size))


def conversations(count: int, turns: int, apart_s: float) -> list[Request]:
    """Return conversations whose turns each have eight blocks more, one conversation after the other in each round."""
    order = [(turn, each) for turn in range(turns) for each in range(count)]
    return [
        request(number * apart_s, *(each * 1000 + block for block in range(8 * (turn + 1))))
        for number, (turn, each) in enumerate(order)
    ]


def test_a_trace_is_read_as_its_makers_wrote_it(tmp_path: Path) -> None:
    line = {"timestamp": 1500, "input_length": 1100, "output_length": 7, "hash_ids": [4, 9, 11]}
    (tmp_path / "trace.jsonl").write_text(json.dumps(line) + "\n")
    (found,) = requests(tmp_path / "trace.jsonl")
    assert (found.at_s, found.read, found.made, found.blocks) == (1.5, 1100, 7, (4, 9, 11))
    assert found.prefix.size == 4400


def test_the_gateway_sees_no_more_in_common_than_the_trace_says() -> None:
    one, other = prefix_of((1, 2, 3, 4), 8192), prefix_of((1, 2, 5, 6), 8192)
    shared = sum(ours == theirs for ours, theirs in zip(one.blocks, other.blocks, strict=True))
    assert ENDS[shared - 1] == 2 * BLOCK * 4


def test_one_request_takes_what_the_model_of_the_service_says() -> None:
    lone = request(0.0, 1, 2, 3)
    found = Simulation(Setting(2, 10_000), WAYS[Balance.PREFIX]).run([], [(0.0, lone), (100.0, lone)])
    assert found.first_s == pytest.approx((READ_S, 3 * BLOCK * READ_S))
    assert found.cached == pytest.approx((3 * BLOCK - 1) / (6 * BLOCK))


def test_seats_are_waited_for() -> None:
    some = [(0.0, request(0.0, number, made=100)) for number in range(3)]
    found = Simulation(Setting(1, 10_000, seats=1), WAYS[Balance.ROUND_ROBIN]).run([], some)
    read, made = BLOCK * READ_S, 100 * MADE_S
    assert found.first_s == pytest.approx((read, 2 * read + made, 3 * read + 2 * made))


def test_a_cache_forgets_what_was_used_least_lately() -> None:
    cache = Cache(4)
    cache.add([1, 2])
    cache.add([3, 4])
    cache.add([1, 2])
    cache.add([5])
    assert (cache.has([1, 2]), cache.has([3, 4]), cached(cache, request(0, 1, 2))) == (2, 1, 2 * BLOCK - 1)


@pytest.mark.parametrize("workers", [1, 4])
def test_what_is_chosen_by_prompts_is_found_and_nearly_all_of_what_could_be(workers: int) -> None:
    talks = conversations(30, 6, 0.02)
    warm, asked = talks[:30], talks[30:]
    setting = Setting(4, 40_000_000, workers)
    found = {way: simulate(warm, asked, setting, 0.5, way) for way in (Balance.PREFIX, Balance.LEAST_OUTSTANDING)}
    seeing, best = simulate(warm, asked, setting, 0.5, None), ideal(warm, asked)
    assert found[Balance.PREFIX].cached > 0.85 * best
    assert found[Balance.PREFIX].cached > 1.3 * found[Balance.LEAST_OUTSTANDING].cached
    assert found[Balance.PREFIX].mean_s < found[Balance.LEAST_OUTSTANDING].mean_s
    assert seeing.cached <= best
