from __future__ import annotations

from collections.abc import Iterable

import pytest

from penstock.node.engines.engine import Progress
from penstock.node.health import Drain, Effort, Limits, Observation, Verdict, begin, drained, judge

LIMITS = Limits()
FINE, SUSPECT, WEDGED = Verdict.FINE, Verdict.SUSPECT, Verdict.WEDGED


def seen(at: float, steps: int, cpu_s: float, running: int = 1, waiting: int = 0, faults: int = 0) -> Observation:
    return Observation(at, Progress(steps, running, waiting), Effort(cpu_s, faults))


def silent(at: float, cpu_s: float, faults: int = 0) -> Observation:
    return Observation(at, None, Effort(cpu_s, faults))


def story(observations: Iterable[Observation]) -> list[Verdict]:
    watch = begin(0.0, Effort(0.0))
    verdicts = []
    for observation in observations:
        watch, verdict = judge(watch, observation, LIMITS)
        verdicts.append(verdict)
    return verdicts


def test_idle_is_fine_for_ever() -> None:
    assert set(story(seen(at / 2, 0, 0, running=0) for at in range(100))) == {FINE}


def test_decoding_is_fine() -> None:
    assert set(story(seen(at / 2, at, 0) for at in range(100))) == {FINE}


def test_a_long_prefill_answers_nothing_and_is_fine() -> None:
    assert set(story(silent(float(at), at * 1.9) for at in range(1, 100))) == {FINE}


def test_a_prefill_on_a_very_busy_machine_is_fine() -> None:
    assert set(story(silent(float(at), at * 0.15) for at in range(1, 100))) == {FINE}


def test_a_prefill_that_waits_for_the_disk_is_fine() -> None:
    assert set(story(silent(float(at), at * 0.01, at * 100) for at in range(1, 100))) == {FINE}


def test_silence_without_movement_is_suspect_after_a_second_and_wedged_after_five() -> None:
    verdicts = story([seen(0.5, 1, 0.1), *(silent(0.5 + at, 0.1) for at in (0.9, 1, 2, 3, 4, 4.9, 5, 6))])
    assert verdicts == [FINE, FINE, SUSPECT, SUSPECT, SUSPECT, SUSPECT, SUSPECT, WEDGED, WEDGED]


def test_work_without_movement_is_wedged_though_probes_are_answered() -> None:
    verdicts = story(seen(at / 2, 7, 0.0, running=0, waiting=3) for at in range(1, 13))
    assert verdicts == [FINE] * 10 + [WEDGED] * 2


def test_the_polling_of_idle_connections_is_not_movement() -> None:
    assert story(silent(float(at), 0.08 * at) for at in range(1, 6))[-1] is WEDGED


def test_recovers_when_it_moves_again() -> None:
    verdicts = story(
        [silent(1, 0), silent(2, 0), silent(3, 0), silent(4, 0), seen(4.5, 1, 0), silent(5.5, 0), silent(8.4, 0)]
    )
    assert verdicts == [SUSPECT, SUSPECT, SUSPECT, SUSPECT, FINE, SUSPECT, SUSPECT]


@pytest.mark.parametrize(
    "moving", [seen(4, 2, 0), seen(4, 1, 1.0), seen(4, 1, 0, running=0), silent(4, 1.0), silent(4, 0, 9)]
)
def test_any_movement_starts_the_count_anew(moving: Observation) -> None:
    before = [seen(1, 1, 0), seen(2, 1, 0), seen(3, 1, 0)]
    steps = moving.progress.steps if moving.progress else 1
    after = [seen(at, steps, moving.effort.cpu_s, faults=moving.effort.faults) for at in (5, 6, 7, 8, 8.9, 9)]
    assert story([*before, moving, *after]) == [FINE] * 9 + [WEDGED]


def test_when_the_node_slept_the_engine_gets_another_chance() -> None:
    assert story([silent(1, 0), silent(2, 0), silent(60, 0), silent(61, 0)]) == [SUSPECT, SUSPECT, FINE, SUSPECT]


def drain_story(observations: Iterable[Observation]) -> list[bool]:
    drain = Drain(0.0)
    ends = []
    for observation in observations:
        drain, end = drained(drain, observation, LIMITS)
        ends.append(end)
    return ends


def test_a_drain_ends_when_idle_was_seen_twice_far_enough_apart() -> None:
    idle = {"running": 0, "steps": 1, "cpu_s": 0.0}
    assert drain_story(
        [seen(0, **idle), seen(0.2, **idle), seen(0.3, **idle)]  # type: ignore[arg-type]  # one dict of mixed numbers
    ) == [False, False, True]


def test_a_request_between_two_looks_starts_the_drain_anew() -> None:
    observations = [seen(0, 1, 0, 0), seen(0.3, 1, 0, 1), seen(0.6, 1, 0, 0), silent(0.9, 0), seen(1.2, 1, 0, 0)]
    assert drain_story([*observations, seen(1.5, 1, 0, 0)]) == [False] * 5 + [True]


def test_a_drain_ends_at_its_limit() -> None:
    assert drain_story([seen(29.9, 1, 0), seen(30, 1, 0)]) == [False, True]
    assert drain_story([silent(29.9, 0), silent(30, 0)]) == [False, True]
