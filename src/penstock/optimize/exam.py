"""The exam: which drills are asked, what counts as right, and how sure a share is."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import msgspec

from penstock.optimize.drills import FAMILIES
from penstock.optimize.drills.drill import Drill, Level, Split, draw, source

_Z = 1.959964  # of the normal distribution, for 95 %


class Question(msgspec.Struct, frozen=True):
    """One drill of an exam, and where it comes from."""

    family: str
    level: Level
    drill: Drill


def questions(
    families: Sequence[str], levels: Sequence[Level], seed: int, count: int, split: Split = "exam"
) -> list[Question]:
    """
    Return `count` questions of each family and level; the same for the same seed, whatever else is asked.

    Raises:
        KeyError: there is no such family.
    """
    asked = []
    for family in families:
        for level in levels:
            chance, kind = source(split, seed, family, level), FAMILIES[family].at(level)
            asked += [Question(family, level, draw(kind, split, chance)) for _ in range(count)]
    return asked


def right(answer: str, reply: str) -> bool:
    """
    Tell whether a reply is the answer.

    White space at the ends and a full stop behind it do not matter, nor does how many blanks stand together. Where the
    answer is a JSON object, the order and the layout of the reply do not matter either.
    """
    if answer.startswith("{"):
        try:
            return _canonical(json.loads(reply)) == _canonical(json.loads(answer))
        except (ValueError, RecursionError):
            return False
    return _plain(answer) == _plain(reply)


def wilson(right: int, total: int) -> tuple[float, float]:
    """
    Return the 95 % interval for a share of which `right` of `total` were seen (E. B. Wilson, 1927).

    It stays within 0 and 1, and is honest for small totals and shares near the ends. Of nothing it is (0, 1).
    """
    if not total:
        return 0.0, 1.0
    share, square = right / total, _Z * _Z / total
    middle = (share + square / 2) / (1 + square)
    half = _Z / (1 + square) * math.sqrt(share * (1 - share) / total + square / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def _plain(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")


def _canonical(value: object) -> str:
    """Return JSON text that is the same for equal values alone; Python itself takes `true` for 1."""
    return json.dumps(value, sort_keys=True)
