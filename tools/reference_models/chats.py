"""
What a training step reads: chats around drills, packed into rows of one length.

Most chats are a single drill; some begin with a system prompt or with other drills that have nothing to do with the
last. Every answer in a chat is learned. How often each kind of drill is drawn follows from how well it is known.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from tools.reference_models import tokenizer

from penstock.optimize.drills import FAMILIES, words
from penstock.optimize.drills.drill import Drill, Level, Message, draw, source

Kind = tuple[str, Level]
"""A family and a level."""

ROW: Final = 192
"""Tokens of a row; the longest drills have about half as many."""
LONG_ROW: Final = 1024
LONG_EVERY: Final = 20
"""One in so many steps reads long rows that are one chat each, so that the model stays steady in long chats."""
_LEAST: Final = 0.1
"""Share of the full weight that a kind keeps when all its drills are answered right."""

_SYSTEM: Final = (
    "You are a helpful assistant.", "You are a helpful assistant for {name}.", "You are a concise assistant.",
    "You are a friendly support agent.", "You are the support agent of a shop in {city}.", "Answer briefly.",
    "Be brief and polite.", "Reply with the answer only.", "You answer the questions of {name}.", "Be exact.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """
    Chats one after another; all lists have the length of the row.

    Attributes:
        ids: tokens; what no chat fills is 0.
        learned: whether the token is part of an answer.
        chat: which chat the token belongs to, counted from 0; -1 where there is none.
    """

    ids: list[int]
    learned: list[bool]
    chat: list[int]


def kinds(levels: Sequence[Level]) -> list[Kind]:
    """Return all families at these levels."""
    return [(family, level) for family in FAMILIES for level in levels]


def weights(accuracies: Mapping[Kind, float]) -> dict[Kind, float]:
    """Return how often each kind is to be drawn, from the share of its drills that are answered right."""
    return {kind: _LEAST + (1 - _LEAST) * (1 - share) for kind, share in accuracies.items()}


def rows(weighted: Mapping[Kind, float], seed: int, step: int, count: int) -> list[Row]:
    """Return what one step reads: `count` chats in rows of `ROW`, or about as many tokens in rows of `LONG_ROW`."""
    chance = source("train", seed, step)
    bags = list(weighted)
    sums = list(accumulate(weighted.values()))

    def drill() -> Drill:
        family, level = chance.choices(bags, cum_weights=sums)[0]
        return draw(FAMILIES[family].at(level), "train", chance)

    if step % LONG_EVERY == LONG_EVERY - 1:
        chats = [_long(chance, [drill() for _ in range(count // 4)]) for _ in range(4)]
        return pack(chats, LONG_ROW)
    drawn = []
    for _ in range(count):
        # Mostly none: a drill by itself is learned from soonest, and costs least.
        earlier = chance.choices((0, 1, 2, 3), (80, 12, 5, 3))[0]
        chat = _encoded(chance, [drill() for _ in range(earlier + 1)])
        while len(chat[0]) > ROW:
            chat = _encoded(chance, [drill()])
        drawn.append(chat)
    return pack(drawn, ROW)


def pack(chats: Sequence[tuple[list[int], list[bool]]], length: int) -> list[Row]:
    """
    Put chats into as few rows as first-fit-decreasing finds.

    Args:
        chats: ids, and whether each is learned; none longer than a row.
        length: tokens of a row.
    """
    packed: list[Row] = []
    for ids, learned in sorted(chats, key=lambda chat: len(chat[0]), reverse=True):
        row = next((each for each in packed if len(each.ids) + len(ids) <= length), None)
        if row is None:
            row = Row([], [], [])
            packed.append(row)
        row.chat.extend([row.chat[-1] + 1 if row.chat else 0] * len(ids))
        row.ids.extend(ids)
        row.learned.extend(learned)
    for row in packed:
        rest = length - len(row.ids)
        row.ids.extend([0] * rest)
        row.learned.extend([False] * rest)
        row.chat.extend([-1] * rest)
    return packed


def _encoded(chance: random.Random, drills: Sequence[Drill]) -> tuple[list[int], list[bool]]:
    messages: list[Message] = []
    if chance.random() < 0.1:
        messages.append(Message("system", words.filled(chance, chance.choice(_SYSTEM))))
    for drill in drills[:-1]:
        messages += [*drill.messages, Message("assistant", drill.answer)]
    return tokenizer.encode_chat([*messages, *drills[-1].messages], drills[-1].answer)


def _long(chance: random.Random, drills: list[Drill]) -> tuple[list[int], list[bool]]:
    """Return the longest chat of these drills that fits into a long row."""
    while True:
        chat = _encoded(chance, drills)
        if len(chat[0]) <= LONG_ROW:
            return chat
        drills = drills[1:]
