"""Sorting and counting; easy: three or four items; hard: up to eight, downwards, words, or with a condition."""

from __future__ import annotations

import random
from typing import Final

from penstock.optimize.drills import words
from penstock.optimize.drills.drill import Drill, ask

_SORT: Final = (
    "Sort these numbers: {items}",
    "Put these numbers in order: {items}",
    "Sort from small to large: {items}",
)
_SORT_DOWN: Final = ("Sort from large to small: {items}", "Put these numbers in falling order: {items}")
_SORT_WORDS: Final = ("Sort these words by the alphabet: {items}", "Put these words in alphabetical order: {items}")
_LARGEST: Final = ("Which number is the largest? {items}", "Find the largest number: {items}")
_SMALLEST: Final = ("Which number is the smallest? {items}", "Find the smallest number: {items}")
_COUNT: Final = ("How many words are in this list? {items}", "Count these words: {items}")


def easy(chance: random.Random) -> Drill:
    """Draw three or four numbers to be sorted, the largest or smallest of them, or up to six words to be counted."""
    kind = chance.randrange(3)
    if kind == 0:
        numbers = chance.sample(range(1, 100), chance.randint(3, 4))
        return ask(chance.choice(_SORT).format(items=_listed(numbers)), _listed(sorted(numbers)))
    if kind == 1:
        numbers = chance.sample(range(1, 100), chance.randint(3, 4))
        largest = chance.random() < 0.5
        question = chance.choice(_LARGEST if largest else _SMALLEST)
        return ask(question.format(items=_listed(numbers)), str(max(numbers) if largest else min(numbers)))
    chosen = chance.sample(words.WORDS, chance.randint(2, 6))
    return ask(chance.choice(_COUNT).format(items=_listed(chosen)), str(len(chosen)))


def hard(chance: random.Random) -> Drill:
    """Draw six to eight numbers or five to six words to be sorted, or numbers to be counted that meet a condition."""
    kind = chance.randrange(3)
    if kind == 0:
        numbers = chance.sample(range(1, 1000), chance.randint(6, 8))
        down = chance.random() < 0.5
        question = chance.choice(_SORT_DOWN if down else _SORT)
        return ask(question.format(items=_listed(numbers)), _listed(sorted(numbers, reverse=down)))
    if kind == 1:
        chosen = chance.sample(words.WORDS, chance.randint(5, 6))
        return ask(chance.choice(_SORT_WORDS).format(items=_listed(chosen)), _listed(sorted(chosen)))
    numbers = chance.sample(range(1, 100), chance.randint(6, 8))
    limit = chance.randint(20, 80)
    found = sum(number > limit for number in numbers)
    return ask(f"How many of these numbers are larger than {limit}? {_listed(numbers)}", str(found))


def _listed(items: list[int] | list[str]) -> str:
    return ", ".join(map(str, items))
