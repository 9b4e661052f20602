"""Conversion of units; easy: one factor; hard: the other way, with fractions, or two units."""

from __future__ import annotations

import random
from typing import Final

from penstock.optimize.drills.drill import Drill, ask

_FACTORS: Final = (
    ("km", "m", 1000), ("m", "cm", 100), ("cm", "mm", 10), ("kg", "g", 1000), ("l", "ml", 1000),
    ("hours", "minutes", 60), ("minutes", "seconds", 60), ("days", "hours", 24), ("weeks", "days", 7),
    ("dozen", "pieces", 12),
)  # fmt: skip
_QUESTIONS: Final = (
    "Convert {value} {unit} to {to}.", "How many {to} are {value} {unit}?", "{value} {unit} in {to}?",
    "What is {value} {unit} in {to}?", "Express {value} {unit} in {to}.",
)  # fmt: skip


def easy(chance: random.Random) -> Drill:
    """Draw a whole number, up to 50, of a larger unit to be given in the smaller one."""
    unit, to, factor = chance.choice(_FACTORS)
    value = chance.randint(2, 50) if factor in (10, 100, 1000) else chance.randint(2, 10)
    return _asked(chance, str(value), unit, to, f"{value * factor} {to}")


def hard(chance: random.Random) -> Drill:
    """Draw a conversion to the larger unit, of a half or a decimal, or of two units together."""
    unit, to, factor = chance.choice(_FACTORS)
    kind = chance.randrange(3)
    if kind == 0:
        value = chance.randint(2, 60 if factor in (10, 100, 1000) else 20)
        return _asked(chance, str(value * factor), to, unit, f"{value} {unit}")
    if kind == 1 and factor in (100, 1000):
        tenths = chance.randint(11, 99)
        return _asked(chance, f"{tenths // 10}.{tenths % 10}", unit, to, f"{tenths * factor // 10} {to}")
    value, rest = chance.randint(1, 9), chance.randint(1, factor - 1)
    return _asked(chance, f"{value} {unit} {rest}", to, to, f"{value * factor + rest} {to}")


def _asked(chance: random.Random, value: str, unit: str, to: str, answer: str) -> Drill:
    return ask(chance.choice(_QUESTIONS).format(value=value, unit=unit, to=to), answer)
