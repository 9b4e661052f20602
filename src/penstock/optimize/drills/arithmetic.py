"""Sums and differences; hard: three digits, three numbers, products."""

from __future__ import annotations

import random
from typing import Final

from penstock.optimize.drills.drill import Drill, ask

_SUM: Final = (
    "What is {a} + {b}?", "What is {a} + {b}?", "{a} + {b}", "{a}+{b}=", "{a} + {b} = ?", "Calculate {a} + {b}.",
    "What is {a} plus {b}?", "How much is {a} + {b}?", "Add {a} and {b}.", "What is the sum of {a} and {b}?",
)  # fmt: skip
_DIFFERENCE: Final = (
    "What is {a} - {b}?", "What is {a} - {b}?", "{a} - {b}", "{a}-{b}=", "{a} - {b} = ?", "Calculate {a} - {b}.",
    "What is {a} minus {b}?", "How much is {a} - {b}?", "Subtract {b} from {a}.",
)  # fmt: skip
_PRODUCT: Final = (
    "What is {a} * {b}?", "What is {a} times {b}?", "Calculate {a} * {b}.", "{a} * {b} = ?", "Multiply {a} by {b}.",
)  # fmt: skip


def easy(chance: random.Random) -> Drill:
    """Draw a sum or a difference of two numbers below 100; no difference is negative."""
    return _two(chance, 0, 99)


def hard(chance: random.Random) -> Drill:
    """Draw a sum or difference of three-digit numbers, three numbers, or a product with one digit."""
    kind = chance.randrange(3)
    if kind == 0:
        return _two(chance, 100, 999)
    if kind == 1:
        a, b, c = (chance.randint(10, 99) for _ in range(3))
        if a + b >= c and chance.random() < 0.5:
            return ask(chance.choice(("What is {} + {} - {}?", "{} + {} - {} = ?")).format(a, b, c), str(a + b - c))
        return ask(chance.choice(("What is {} + {} + {}?", "Add {}, {} and {}.")).format(a, b, c), str(a + b + c))
    a, b = chance.randint(11, 99), chance.randint(3, 9)
    return ask(chance.choice(_PRODUCT).format(a=a, b=b), str(a * b))


def _two(chance: random.Random, least: int, most: int) -> Drill:
    a, b = chance.randint(least, most), chance.randint(least, most)
    if chance.random() < 0.5:
        return ask(chance.choice(_SUM).format(a=a, b=b), str(a + b))
    a, b = max(a, b), min(a, b)
    return ask(chance.choice(_DIFFERENCE).format(a=a, b=b), str(a - b))
