"""The plan alone, and the plan against a small model of what happens to replicas, whatever the order of events."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.node.plan import Action, Drop, Retire, Standing, Start, plan
from penstock.snapshot.fleet import EngineSpec, ReplicaState

STARTING, READY, WEDGED, DRAINING, FAILED = (
    ReplicaState.STARTING,
    ReplicaState.READY,
    ReplicaState.WEDGED,
    ReplicaState.DRAINING,
    ReplicaState.FAILED,
)


def spec(version: str = "a", replicas: int = 1, deployment: str = "mini") -> EngineSpec:
    return EngineSpec(deployment, version, "llama.cpp", "/w", replicas, 512, 2)


def standing(
    key: int, state: ReplicaState, version: str = "a", index: int = 0, *, proven: bool | None = None
) -> Standing:
    known = state in (READY, WEDGED, DRAINING) if proven is None else proven
    return Standing(key, "mini", version, index, state, known)


def test_missing_replicas_are_started() -> None:
    assert plan([spec(replicas=2)], []) == [Start(spec(replicas=2), 0), Start(spec(replicas=2), 1)]
    assert plan([spec(replicas=2)], [standing(1, FAILED, index=1)]) == [Start(spec(replicas=2), 0)]


def test_what_is_as_wanted_is_left_alone() -> None:
    for state in (STARTING, READY, WEDGED, FAILED):
        assert plan([spec()], [standing(1, state)]) == []


def test_a_deployment_that_is_gone_is_ended() -> None:
    actual = [standing(1, READY), standing(2, WEDGED), standing(3, STARTING), standing(4, FAILED)]
    assert plan([], actual) == [Retire(1), Retire(2), Drop(3), Drop(4)]
    assert plan([spec(replicas=0)], actual) == [Retire(1), Retire(2), Drop(3), Drop(4)]


def test_a_draining_replica_is_not_counted_nor_ended_again() -> None:
    assert plan([], [standing(1, DRAINING)]) == []
    assert plan([spec()], [standing(1, DRAINING)]) == [Start(spec(), 0)]


def test_an_old_version_stays_until_the_new_one_is_ready() -> None:
    new = spec("b")
    old = standing(1, READY)
    assert plan([new], [old]) == [Start(new, 0)]
    for state in (STARTING, FAILED, WEDGED):
        assert plan([new], [old, standing(2, state, "b")]) == []
    assert plan([new], [old, standing(2, READY, "b")]) == [Retire(1)]


def test_old_replicas_go_one_by_one_as_new_ones_become_ready() -> None:
    new = spec("b", 2)
    old = [standing(1, READY), standing(2, READY, index=1)]
    assert plan([new], [*old, standing(3, READY, "b"), standing(4, STARTING, "b", 1)]) == [Retire(2)]
    assert plan([new], [old[0], standing(3, READY, "b"), standing(4, READY, "b", 1)]) == [Retire(1)]


def test_no_old_replica_goes_before_the_first_new_one_is_ready_even_when_fewer_are_wanted() -> None:
    old = [standing(1, READY), standing(2, READY, index=1), standing(3, READY, index=2)]
    assert plan([spec("b", 1)], [*old, standing(4, STARTING, "b")]) == []


def test_of_the_old_ones_the_ready_are_kept_longest() -> None:
    old = [standing(1, STARTING, proven=True), standing(2, READY, index=1)]
    assert plan([spec("b", 2)], [*old, standing(3, READY, "b"), standing(4, STARTING, "b", 1)]) == [Drop(1)]


def test_an_old_replica_that_never_worked_goes_at_once_one_that_did_is_kept_while_it_recovers() -> None:
    new = spec("b")
    assert plan([new], [standing(1, STARTING), standing(2, FAILED)]) == [Start(new, 0), Drop(1), Drop(2)]
    recovering = standing(1, STARTING, proven=True)
    assert plan([new], [recovering, standing(2, STARTING, "b")]) == []
    assert plan([new], [recovering, standing(2, READY, "b")]) == [Drop(1)]


def test_scaling_down_keeps_a_ready_replica_until_the_kept_one_is_ready() -> None:
    second = standing(2, READY, index=1)
    assert plan([spec()], [standing(1, FAILED), second]) == []
    assert plan([spec()], [standing(1, READY), second]) == [Retire(2)]


class World:
    """Replicas with lives of their own, and the plan applied to them."""

    def __init__(self) -> None:
        self.keys = 0
        self.replicas: dict[int, Standing] = {}

    def ready(self, deployment: str) -> set[int]:
        return {key for key, s in self.replicas.items() if s.deployment == deployment and s.state is READY}

    def become(self, key: int, state: ReplicaState) -> None:
        before = self.replicas[key]
        self.replicas[key] = msgspec.structs.replace(before, state=state, proven=before.proven or state is READY)

    def apply(self, desired: list[EngineSpec]) -> list[Action]:
        actions = plan(desired, list(self.replicas.values()))
        for action in actions:
            match action:
                case Start(wanted, index):
                    self.keys += 1
                    self.replicas[self.keys] = Standing(
                        self.keys, wanted.deployment, wanted.version, index, STARTING, False
                    )
                case Retire(key):
                    assert self.replicas[key].state in (READY, WEDGED)
                    self.become(key, DRAINING)
                case Drop(key):
                    assert self.replicas[key].state in (STARTING, FAILED)
                    del self.replicas[key]
        return actions


DESIRED = st.lists(
    st.builds(
        spec, version=st.sampled_from("abc"), replicas=st.integers(0, 3), deployment=st.sampled_from(["mini", "large"])
    ),
    max_size=2,
    unique_by=lambda each: each.deployment,
)
LIFE = {STARTING: (READY, FAILED), READY: (WEDGED, FAILED), WEDGED: (READY, FAILED), FAILED: (STARTING,), DRAINING: ()}
STEPS = st.lists(st.one_of(DESIRED, st.tuples(st.integers(0, 20), st.integers(0, 2))), max_size=40)


@settings(max_examples=100)
@given(STEPS)
def test_a_wanted_deployment_never_loses_its_last_ready_replica_and_all_ends_as_desired(
    steps: list[list[EngineSpec] | tuple[int, int]],
) -> None:
    world = World()
    desired: list[EngineSpec] = []
    for step in steps:
        if isinstance(step, list):
            desired = step
        elif world.replicas:
            key = sorted(world.replicas)[step[0] % len(world.replicas)]
            next_states = LIFE[world.replicas[key].state]
            if not next_states:
                del world.replicas[key]  # has drained
            else:
                world.become(key, next_states[step[1] % len(next_states)])
        before = {each.deployment: world.ready(each.deployment) for each in desired}
        world.apply(desired)
        for each in desired:
            if each.replicas and before[each.deployment]:
                assert world.ready(each.deployment), "the plan took the last ready replica"
        assert world.apply(desired) == [], "a plan that has been carried out leaves nothing to do"

    for _ in range(20):  # nothing fails any more
        for key, replica in list(world.replicas.items()):
            if replica.state is DRAINING:
                del world.replicas[key]
            else:
                world.become(key, READY)
        world.apply(desired)
    assert sorted((s.deployment, s.version, s.index, s.state) for s in world.replicas.values()) == sorted(
        (each.deployment, each.version, index, READY) for each in desired for index in range(each.replicas)
    )
