"""Operations on words and letters; easy: case, first and last letters, joining; hard: reversing, counting, removing."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from penstock.optimize.drills import words
from penstock.optimize.drills.drill import Drill, ask

_EASY: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("Write {word} in capital letters.", str.upper),
    ("{word} in capitals?", str.upper),
    ("What is the first letter of {word}?", lambda word: word[0]),
    ("What is the last letter of {word}?", lambda word: word[-1]),
    ("Write this word two times: {word}", lambda word: f"{word} {word}"),
    ("Spell the word {word} with hyphens between the letters.", "-".join),
)
_HARD: Final[tuple[tuple[str, Callable[[str], str]], ...]] = (
    ("Write {word} backwards.", lambda word: word[::-1]),
    ("Reverse the word {word}.", lambda word: word[::-1]),
    ("Remove all vowels from {word}.", lambda word: "".join(letter for letter in word if letter not in "aeiou")),
    ("How many vowels are in {word}?", lambda word: str(sum(letter in "aeiou" for letter in word))),
    ("How many letters has {word}?", lambda word: str(len(word))),
    ("Write the letters of {word} in alphabetical order.", lambda word: "".join(sorted(word))),
)
_VOWELS: Final = "aeiou"
_CONSONANTS: Final = "bcdfghklmnprstvwz"


def easy(chance: random.Random) -> Drill:
    """Draw a word of the list and something simple to be done with it."""
    question, answer = chance.choice(_EASY)
    word = chance.choice(words.WORDS) if chance.random() < 0.5 else _made_up(chance, 2)
    return ask(question.format(word=word), answer(word))


def hard(chance: random.Random) -> Drill:
    """Draw a made-up word of six or eight letters and something that needs each of them."""
    question, answer = chance.choice(_HARD)
    word = _made_up(chance, chance.randint(3, 4))
    return ask(question.format(word=word), answer(word))


def _made_up(chance: random.Random, syllables: int) -> str:
    return "".join(chance.choice(_CONSONANTS) + chance.choice(_VOWELS) for _ in range(syllables))
