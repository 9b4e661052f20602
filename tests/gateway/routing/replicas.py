"""Replicas and exchanges for ways to choose, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from penstock.gateway.routing.latency import Latency
from penstock.gateway.routing.prefix import Prefix, chain
from penstock.gateway.routing.prompts import Prompts
from penstock.gateway.routing.rendezvous import seed_of


@dataclass(eq=False)
class Place:
    """A replica."""

    outstanding: int = 0
    name: str = "mini/0"
    seats: int = 8
    latency: Latency = field(default_factory=Latency)
    prompts: Prompts = field(default_factory=Prompts)

    @property
    def seed(self) -> int:
        return seed_of(self.name)


@dataclass
class Asked:
    """What is asked."""

    turn: int = 0
    now: float = 100.0
    workers: int = 1
    prefix: Prefix = field(default_factory=lambda: chain([]))
    session: int | None = None


def places(loads: Sequence[int], latencies: Sequence[float] = ()) -> list[Place]:
    """Return replicas of one deployment with so many exchanges in progress."""
    made = [Place(load, f"mini/{number}") for number, load in enumerate(loads)]
    for place, seconds in zip(made, latencies, strict=False):
        place.latency.add(seconds, 100.0)
    return made
