"""What workers and whoever keeps the seats mean by a seat."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec


class Size(msgspec.Struct, frozen=True, array_like=True):
    """
    How much a deployment takes.

    Attributes:
        seats: exchanges that it works on at once; 0 while it cannot work at all.
        most: exchanges that have a seat or wait for one; 0 when waiting makes no sense either.
    """

    seats: int
    most: int


class NoSeat(Exception):
    """There was no seat to be had."""


class Full(NoSeat):
    """As many wait already as may; or there was no seat for one that would not wait."""


class Displaced(NoSeat):
    """It waited, and had to make room for somebody with fewer exchanges or a higher priority."""


class Expired(NoSeat):
    """It waited as long as it had patience."""


class Seat:
    """
    The right to send one exchange to a deployment; `with seat:` gives it back, however the block ends.

    Attributes:
        waited_s: seconds that were spent in the line; 0 when none was needed.
        ahead: how many were to be served before it when it joined the line.
        share: it is one of the worker's own even share, since nobody could be asked.
        deployment: what it is a seat of.
        tenant: whom it is taken for.
        known: whom whoever keeps the seats takes it to be taken for.
        since: when it was last used, in sweeps.
    """

    __slots__ = ("_release", "ahead", "deployment", "known", "share", "since", "tenant", "waited_s")

    def __init__(self, release: Callable[[Seat], None], deployment: str, tenant: str) -> None:
        self._release = release
        self.deployment = deployment
        self.tenant = self.known = tenant
        self.waited_s = 0.0
        self.ahead = 0
        self.share = False
        self.since = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release(self)
