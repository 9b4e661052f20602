"""
Weights that adapt to what they bring about: simulated targets whose latency grows with their load, on a virtual clock.

Each target works on so many exchanges at once and has the others wait, first come, first served. Exchanges come at
random, each at one of the workers, which know only of their own.
"""

from __future__ import annotations

import heapq
import math
import random
from statistics import fmean, pstdev

import msgspec
import pytest

from penstock.gateway.routing import vitals
from penstock.gateway.routing.adaptive import adapted
from penstock.gateway.routing.choose import draw_target, shares
from penstock.gateway.routing.vitals import Vitals

_EVERY_S = 0.25
_LOOK_S = 5.0


class Target(msgspec.Struct, frozen=True):
    """
    Attributes:
        slots: exchanges that it works on at once.
        took_s: for each of them, on average.
        slow: clock times between which it takes five times as long.
        fails: clock times between which every second answer is a failure.
    """

    slots: int
    took_s: float = 1.0
    slow: tuple[float, float] = (0.0, 0.0)
    fails: tuple[float, float] = (0.0, 0.0)


class Run:
    """A simulation. `shares` are those in use of each target, at each look; `latencies` come with their time."""

    def __init__(
        self, targets: list[Target], load: float, workers: int, *, adaptive: bool = True, spread: float = 0.5
    ) -> None:
        self.shares: list[tuple[float, list[float]]] = []
        self.latencies: list[tuple[float, float]] = []
        self._targets = targets
        self._chance = random.Random(workers)
        self._adaptive = adaptive
        self._spread = spread
        self._rate = load * sum(each.slots / each.took_s for each in targets)
        self._known = [[Vitals() for _ in targets] for _ in range(workers)]
        self._weights = [tuple(1.0 for _ in targets) for _ in range(workers)]
        self._due = [0.0] * workers
        self._busy = [[0] * len(targets) for _ in range(workers)]
        self._free = [[0.0] * each.slots for each in targets]
        self._ends: list[tuple[float, int, int, float, bool]] = []

    def until(self, seconds: float) -> Run:
        now, look = 0.0, _LOOK_S
        while now < seconds:
            now += self._chance.expovariate(self._rate)
            self._answers(now)
            self._asks(now, self._chance.randrange(len(self._known)))
            if now >= look:
                look += _LOOK_S
                of_workers = [[weight / sum(weights) for weight in weights] for weights in self._weights]
                self.shares.append((now, [fmean(share) for share in zip(*of_workers, strict=True)]))
        return self

    def _answers(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            at, worker, number, took_s, well = heapq.heappop(self._ends)
            self._busy[worker][number] -= 1
            known = self._known[worker][number]
            known.answers(took_s, at)
            known.ended(well, at)

    def _asks(self, now: float, worker: int) -> None:
        known = self._known[worker]
        if self._adaptive and now >= self._due[worker]:
            self._due[worker] = now + _EVERY_S
            for number, each in enumerate(known):
                each.looked(min(1.0, self._busy[worker][number] / (2 * self._targets[number].slots)), now)
            self._weights[worker] = adapted([1.0] * len(known), [each.load(now) for each in known])
        number = draw_target(shares(self._weights[worker]), self._chance.random())
        target, free = self._targets[number], self._free[number]
        took_s = target.took_s * math.exp(self._chance.gauss(-(self._spread**2) / 2, self._spread))
        took_s *= 5 if target.slow[0] <= now < target.slow[1] else 1
        end = max(now, free[0]) + took_s
        heapq.heapreplace(free, end)
        well = not (target.fails[0] <= now < target.fails[1] and self._chance.random() < 0.5)
        self._busy[worker][number] += 1
        self.latencies.append((now, end - now))
        heapq.heappush(self._ends, (end, worker, number, end - now, well))

    def share(self, number: int, since: float, until: float = math.inf) -> list[float]:
        return [share[number] for at, share in self.shares if since <= at < until]

    def latency_s(self, since: float) -> float:
        return fmean(took_s for at, took_s in self.latencies if at >= since)


WORKERS = pytest.mark.parametrize("workers", [1, 4])


@WORKERS
@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_equal_targets_keep_equal_shares(workers: int, load: float) -> None:
    run = Run([Target(8)] * 3, load, workers).until(600)
    for number in range(3):
        found = run.share(number, 200)
        assert fmean(found) == pytest.approx(1 / 3, abs=0.04)
        assert pstdev(found) < 0.08


@WORKERS
@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_a_target_half_as_fast_gets_half_as_much_and_it_stays_so(workers: int, load: float) -> None:
    run = Run([Target(8), Target(8, took_s=2.0)], load, workers).until(600)
    found = run.share(1, 200)
    assert fmean(found) == pytest.approx(1 / 3, abs=0.05)
    assert pstdev(found) < 0.1


@WORKERS
def test_nobody_waits_at_a_target_that_equal_weights_would_run_down(workers: int) -> None:
    targets = [Target(8), Target(2)]
    adaptive, fixed = (Run(targets, 0.8, workers, adaptive=each).until(600) for each in (True, False))
    assert adaptive.latency_s(200) < 3
    assert fixed.latency_s(200) > 10 * adaptive.latency_s(200)


@WORKERS
def test_a_target_that_slows_down_is_left_and_taken_back(workers: int) -> None:
    run = Run([Target(8, slow=(200, 300)), Target(8), Target(8)], 0.4, workers).until(500)
    assert fmean(run.share(0, 100, 200)) == pytest.approx(1 / 3, abs=0.05)
    assert fmean(run.share(0, 250, 300)) < 0.15
    assert fmean(run.share(0, 400)) == pytest.approx(1 / 3, abs=0.06)


@WORKERS
def test_a_target_that_fails_is_left_and_taken_back(workers: int) -> None:
    run = Run([Target(32, fails=(200, 300)), Target(32), Target(32)], 0.4, workers).until(500)
    assert fmean(run.share(0, 240, 300)) < 0.12
    assert fmean(run.share(0, 420)) == pytest.approx(1 / 3, abs=0.06)


def test_without_the_average_over_time_it_would_swing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the damping is for; without this test those above could pass for no reason."""
    calm = Run([Target(8)] * 2, 0.9, 4).until(400)
    monkeypatch.setattr(vitals, "LATELY_S", 0.01)
    monkeypatch.setattr(vitals, "_DELAYS", 0.0)
    monkeypatch.setattr(vitals, "_LEAST_KEPT", 0.0)
    wild = Run([Target(8)] * 2, 0.9, 4).until(400)
    assert pstdev(wild.share(0, 100)) > 2 * pstdev(calm.share(0, 100))
