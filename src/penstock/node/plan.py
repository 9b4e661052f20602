"""
What to do so that the replicas there are become the replicas that are wanted. Pure: decided here, done by `fleet`.

A new version is started beside the old one, and the old replicas go one by one as new ones become ready, never before
the first. Old ones that never were ready go at once: they only take memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from penstock.snapshot.fleet import EngineSpec, ReplicaState


class Standing(msgspec.Struct, frozen=True):
    """
    A replica as the plan sees it.

    Attributes:
        key: identifies it among all replicas of this node.
        index: its number within deployment and version, from 0.
        proven: it has been ready since it was created.
    """

    key: int
    deployment: str
    version: str
    index: int
    state: ReplicaState
    proven: bool


class Start(msgspec.Struct, frozen=True):
    """Create a replica."""

    spec: EngineSpec
    index: int


class Retire(msgspec.Struct, frozen=True):
    """Let a replica finish what it has, and end it."""

    key: int


class Drop(msgspec.Struct, frozen=True):
    """End a replica that has nothing to finish."""

    key: int


Action = Start | Retire | Drop


def plan(desired: Iterable[EngineSpec], actual: Sequence[Standing]) -> list[Action]:
    """Return what to do now. Nothing to do when the wanted replicas are all there and ready, and no others."""
    specs = {spec.deployment: spec for spec in desired}
    live = [standing for standing in actual if standing.state is not ReplicaState.DRAINING]
    actions: list[Action] = []
    for name in sorted({*specs, *(standing.deployment for standing in live)}):
        actions += _plan_one(specs.get(name), [standing for standing in live if standing.deployment == name])
    return actions


def _plan_one(spec: EngineSpec | None, live: Sequence[Standing]) -> list[Action]:
    """Plan one deployment; `spec` is None when it is not wanted any more."""
    replicas = spec.replicas if spec else 0
    version = spec.version if spec else ""
    wanted = [s for s in live if s.version == version and s.index < replicas]
    others = [s for s in live if s.version != version or s.index >= replicas]
    present = {s.index for s in wanted}
    starts = [Start(spec, index) for index in range(replicas) if index not in present] if spec else []

    ready = sum(s.state is ReplicaState.READY for s in wanted)
    spare = [s for s in others if s.proven]
    spare.sort(key=lambda s: (s.state is not ReplicaState.READY, s.index))  # ready ones are kept longest
    kept = len(spare) if ready == 0 and replicas > 0 else max(0, replicas - ready)
    keys = {s.key for s in spare[:kept]}
    return [*starts, *(_end(s) for s in others if s.key not in keys)]


def _end(standing: Standing) -> Action:
    """A replica with a process that gateways may be using is retired; one without is dropped."""
    if standing.state in (ReplicaState.READY, ReplicaState.WEDGED):
        return Retire(standing.key)
    return Drop(standing.key)
