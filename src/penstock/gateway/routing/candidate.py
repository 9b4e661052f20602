"""What a choice between replicas looks at: the replicas, as this process knows them, and what is asked of them."""

from __future__ import annotations

from typing import Protocol, TypeVar

from penstock.gateway.routing.latency import Latency
from penstock.gateway.routing.prefix import Prefix
from penstock.gateway.routing.prompts import Prompts


class Candidate(Protocol):
    """Something that exchanges are sent to, as this process knows it."""

    @property
    def seed(self) -> int:
        """64 bits that stand for its name, the same in every process; see `rendezvous`."""

    @property
    def seats(self) -> int:
        """Exchanges that it works on at once, of all processes."""

    @property
    def outstanding(self) -> int:
        """Exchanges in progress, of this process."""

    @property
    def latency(self) -> Latency:
        """How soon it answers."""

    @property
    def prompts(self) -> Prompts:
        """What it has read, of what this process has sent."""


C = TypeVar("C", bound=Candidate)


class Ask(Protocol):
    """
    What is known of the exchange that a replica is chosen for. What only some ways look at is worked out when they do.
    """

    @property
    def turn(self) -> int:
        """A growing number; among equals the choice rotates with it, so that idle replicas share the work."""

    @property
    def now(self) -> float:
        """Seconds, on the clock that latencies go by."""

    @property
    def workers(self) -> int:
        """Processes that send exchanges to the same replicas, each without knowing of the others'."""

    @property
    def prefix(self) -> Prefix:
        """Its prompt."""

    @property
    def session(self) -> int | None:
        """64 bits that stand for the session that it belongs to, if it says one."""
