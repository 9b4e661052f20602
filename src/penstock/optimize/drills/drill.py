"""
What a drill is, and how drills are drawn.

A drill is a short chat that ends in a question with exactly one right answer. Families draw drills from a random
generator; which of them train, validate or examine a model is decided by a hash of the chat itself, so that a chat of
the exam cannot be among those that anything was trained or chosen on, whatever the seeds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, Literal
from zlib import crc32

import msgspec

Level = Literal["easy", "hard"]
Split = Literal["train", "validation", "exam"]

LEVELS: Final[tuple[Level, ...]] = ("easy", "hard")
_PARTS: Final = 20
"""Of so many parts of all chats one is for the exam, one for validation, and the rest for training."""
_ATTEMPTS: Final = 10_000


class Message(msgspec.Struct, frozen=True):
    """One turn of a chat. Role: `system`, `user` or `assistant`."""

    role: str
    content: str


class Drill(msgspec.Struct, frozen=True):
    """
    Attributes:
        messages: the chat up to the question, which is the last of them.
        answer: the only right reply.
    """

    messages: tuple[Message, ...]
    answer: str


Draw = Callable[[random.Random], Drill]


class Family(msgspec.Struct, frozen=True):
    """Drills of one kind, at two levels."""

    easy: Draw
    hard: Draw

    def at(self, level: Level) -> Draw:
        """Return what draws the drills of a level."""
        return self.easy if level == "easy" else self.hard


def ask(question: str, answer: str) -> Drill:
    """Return a drill that is a single question."""
    return Drill((Message("user", question),), answer)


def earlier(drill: Drill) -> list[Drill]:
    """Return the chat up to each answer that is already in it, as a drill with that answer."""
    turns = enumerate(drill.messages)
    return [Drill(drill.messages[:index], turn.content) for index, turn in turns if turn.role == "assistant"]


def split_of(drill: Drill) -> Split:
    """Return which split a drill belongs to: a matter of its chat alone."""
    text = "\0".join(f"{message.role}\0{message.content}" for message in drill.messages)
    part = crc32(text.encode()) % _PARTS
    if part == 0:
        return "exam"
    return "validation" if part == 1 else "train"


def source(split: Split, seed: int, *names: str | int) -> random.Random:
    """Return a generator for one part of one split."""
    return random.Random("/".join(map(str, ("penstock-drills", split, seed, *names))))  # noqa: S311  no secret


def draw(family: Draw, split: Split, chance: random.Random) -> Drill:
    """
    Return the next drill of a split.

    Whoever trains on a drill may learn its earlier answers too, so that a drill for training has none that answers a
    chat of another split.

    Raises:
        LookupError: the family has, as it seems, none in this split.
    """
    for _ in range(_ATTEMPTS):
        drill = family(chance)
        if split_of(drill) == split and (split != "train" or {split_of(each) for each in earlier(drill)} <= {split}):
            return drill
    raise LookupError(f"no drill for the split {split} among {_ATTEMPTS}")
