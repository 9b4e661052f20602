"""
What a worker and the node say to each other about equal requests. A worker's numbers count up from 1, and name one of
its requests from the question to the end; those below 0 are the node's, for answers that it fetches.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from penstock.types.priority import Priority

PART = 64 * 1024
"""Bytes of an answer in one message."""


class Word(IntEnum):
    """What becomes of a question, where it is not an answer; only `WAIT` is not the last word."""

    LEAD = 0
    WAIT = 1
    ALONE = 2  # the answer cannot be shared: it asks for itself, and nobody waits for it
    AGAIN = 3  # who was to bring the answer has gone meanwhile: it is to ask again


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """
    Who leads? Asked again when the time is over that a leader has.

    Attributes:
        patience_s: seconds that a leader has, until somebody else leads too.
        since: seconds since the epoch; what was answered before is too old.
    """

    number: int
    key: bytes
    priority: Priority
    patience_s: float
    since: float


class Leave(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """It does not wait any more, or has led and has no answer, or does not have what is fetched."""

    number: int


class Landed(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """
    It has led, and has the answer.

    Attributes:
        kept: this worker keeps it, so that it can be fetched from there later.
        follows: its parts come next, for somebody waits for it.
    """

    number: int
    kept: bool
    follows: bool


class Kept(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """It keeps an answer that it has not led for: who comes later fetches that, and none that is older."""

    key: bytes


class Part(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A part of an encoded answer: to the node from who has it, and from there to who waits for it."""

    number: int
    data: bytes
    more: bool
    kept: bool


class Alone(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """It has led, and its answer cannot be shared."""

    number: int


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """It has led, and the request is refused for its own fault, see `UpstreamRejected`; told to all that wait."""

    number: int
    message: str
    status: int
    body: bytes
    retry_after: float | None
    code: str | None


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A worker whose requests wait wants to know whether anybody is there."""


class Told(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """
    The answer to a question.

    Attributes:
        left_s: with `WAIT`, seconds until it is to ask again.
        wanted: with `LEAD`, others wait for the answer already.
    """

    number: int
    word: Word
    left_s: float = 0.0
    wanted: bool = False


class Wanted(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Others wait for the answer of this number."""

    number: int


class Fetch(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Others want what this worker keeps, unless it is from before `since`."""

    number: int
    key: bytes
    since: float


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The answer to `Ping`."""


Asked = Ask | Leave | Landed | Kept | Part | Alone | Refused | Ping
Answered = Told | Wanted | Fetch | Part | Refused | Pong


class Questions(msgspec.Struct, frozen=True, array_like=True):
    """What a worker has to say at once."""

    messages: list[Asked]


class Answers(msgspec.Struct, frozen=True, array_like=True):
    """What the node has to say at once to one worker."""

    messages: list[Answered]
