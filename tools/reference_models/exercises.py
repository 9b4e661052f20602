"""
What a run begins with, before any drill: random tokens to be copied, then to be looked up.

Most drills ask for something that was said, and which of several such things is meant follows from a word that the
question repeats. From drills alone small models take very long to learn to find a word again and to read what stands
beside it: until they can, a guess among what was said is the best they have. Exercises without any meaning teach it
within minutes: they have many answers, and none can be guessed (see the README here for what they were worth).
"""

import random
from typing import Final

from tools.reference_models import tokenizer
from tools.reference_models.chats import ROW, Row, pack

from penstock.optimize.drills.drill import source

_DRAWN: Final = range(tokenizer.SIZE - len(tokenizer.CONTROL) - 5)
_OF, _FOR, _STOP, _QUESTION, _ANSWER = range(_DRAWN.stop, _DRAWN.stop + 5)
"""Marks are the same in all exercises, as words are: drawn anew, what they mean would itself have to be found out."""
_ROWS: Final = 8
_FACTS: Final = 8
_COPYING: Final = 0.35
"""Share of all exercises' steps that are copying alone."""

Exercise = tuple[list[int], list[bool]]
"""Tokens, and whether each is learned."""


def rows(seed: int, step: int, steps: int) -> list[Row]:
    """Return what one of `steps` steps reads."""
    chance = source("train", seed, "exercises", step)
    made: list[Exercise] = []
    while sum(len(ids) for ids, _ in made) < _ROWS * ROW:
        copying = step < _COPYING * steps or chance.random() < 0.2
        made.append(copy(chance) if copying else look_up(chance))
    return pack(made, ROW)


def copy(chance: random.Random) -> Exercise:
    """Draw tokens that come twice; all but the first of the second time follow from the first time."""
    tokens = [chance.choice(_DRAWN) for _ in range(chance.randint(8, 40))]
    return tokens + tokens, [False] * (len(tokens) + 1) + [True] * (len(tokens) - 1)


def look_up(chance: random.Random) -> Exercise:
    """Draw facts, each a key and a value in either order with the mark of that order between; ask for the values."""
    drawn = chance.sample(_DRAWN, 2 * _FACTS)
    facts = list(zip(drawn[:_FACTS], drawn[_FACTS:], strict=True))
    ids: list[int] = []
    for key, value in facts:
        ids += [key, _OF, value, _STOP] if chance.random() < 0.5 else [value, _FOR, key, _STOP]
    learned = [False] * len(ids)
    for key, value in chance.sample(facts, _FACTS):
        ids += [_QUESTION, key, _ANSWER, value]
        learned += [False, False, False, True]
    return ids, learned
