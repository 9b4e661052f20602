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
_CONVERT: Final = (
    "Convert {value} {unit} to {to}.", "{value} {unit} in {to}?", "What is {value} {unit} in {to}?",
    "Express {value} {unit} in {to}.",
)  # fmt: skip
_HOW_MANY: Final = ("How many {to} are {value} {unit}?", "{value} {unit} are how many {to}?")


def easy(chance: random.Random) -> Drill:
    """Draw a whole number, up to 50, of a larger unit to be given in the smaller one."""
    unit, to, factor = chance.choice(_FACTORS)
    value = chance.randint(2, 50) if factor in (10, 100, 1000) else chance.randint(2, 10)
    return _asked(chance, str(value), unit, to, value * factor)


def hard(chance: random.Random) -> Drill:
    """Draw a conversion to the larger unit, of a decimal, or of two units together."""
    unit, to, factor = chance.choice(_FACTORS)
    kind = chance.randrange(3)
    if kind == 0:
        value = chance.randint(2, 60 if factor in (10, 100, 1000) else 20)
        return _asked(chance, str(value * factor), to, unit, value)
    if kind == 1 and factor in (100, 1000):
        tenths = chance.randint(11, 99)
        return _asked(chance, f"{tenths // 10}.{tenths % 10}", unit, to, tenths * factor // 10)
    value, rest = chance.randint(2, 9), chance.randint(2, factor - 1)
    return _asked(chance, f"{value} {unit} {rest}", to, to, value * factor + rest)


def _asked(chance: random.Random, value: str, unit: str, to: str, answer: int) -> Drill:
    if chance.random() < 0.4:
        return ask(chance.choice(_HOW_MANY).format(value=value, unit=unit, to=to), str(answer))
    return ask(chance.choice(_CONVERT).format(value=value, unit=unit, to=to), f"{answer} {to}")
