"""What a worker and whoever keeps the seats say to each other. A question has one last answer, and maybe one before."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from penstock.counters.seats.seat import Size
from penstock.types.priority import Priority


class Verdict(IntEnum):
    """What becomes of a question; only `WAITING` is not the last word."""

    SEATED = 0
    WAITING = 1
    FULL = 2  # too many wait, or one that would not wait found no seat
    DISPLACED = 3  # it waited, and had to make room
    LEFT = 4  # it has asked to leave the line, and had not been seated


class Sizes(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker says what deployments take from now on. The last word of any worker holds."""

    sizes: dict[str, Size]


class Sit(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """
    A worker asks for a seat.

    Attributes:
        number: comes back with the answers.
        waits: it stays in the line; otherwise the answer is `FULL` once no worker can have a seat that lies idle.
    """

    number: int
    deployment: str
    tenant: str
    priority: Priority
    waits: bool = True


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker does not want what it has asked for any more. Its last answer may be under way already."""

    number: int


class Rise(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """
    A worker gives seats back.

    Attributes:
        tenants: whom they are known to be taken for, one for each seat.
        answer: that was all that lay idle when it was told that others wait.
    """

    deployment: str
    tenants: list[str]
    answer: bool = False


class Rename(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker uses seats for other tenants than they are known to be taken for: pairs of who it was and who it is."""

    deployment: str
    pairs: list[tuple[str, str]]


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker whose exchanges wait wants to know whether anybody is there."""


class Told(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """An answer. `ahead` goes with `WAITING`: how many are served before."""

    number: int
    verdict: Verdict
    ahead: int = 0


class Mood(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Whether anybody waits for a deployment; while somebody does, workers keep no seat that they do not use."""

    deployment: str
    crowded: bool


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The answer to `Ping`."""


Asked = Sizes | Sit | Leave | Rise | Rename | Ping
Answered = Told | Mood | Pong
