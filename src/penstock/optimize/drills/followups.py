"""Questions that need an earlier turn; easy: the last one; hard: one of several, or two of them."""

from __future__ import annotations

import random

from penstock.optimize.drills import words
from penstock.optimize.drills.drill import Drill, Message


def easy(chance: random.Random) -> Drill:
    """Draw a sum that is gone on with, or a name that is asked for after one turn."""
    if chance.random() < 0.5:
        a, b, c = chance.randint(1, 50), chance.randint(1, 50), chance.randint(1, 50)
        more = chance.choice((f"And plus {c}?", f"Add {c} to that.", f"Now add {c}."))
        return _chat(f"What is {a} + {b}?", str(a + b), more, answer=str(a + b + c))
    name, city = chance.choice(words.NAMES), chance.choice(words.CITIES)
    first, question, answer = chance.choice(
        (
            (f"My name is {name}.", "What is my name?", name),
            (f"I live in {city}.", "Where do I live?", city),
            (f"I am {name} and live in {city}.", "What is my name?", name),
            (f"I am {name} and live in {city}.", "Where do I live?", city),
        )
    )
    return _chat(first, "Nice to meet you.", question, answer=answer)


def hard(chance: random.Random) -> Drill:
    """Draw a chat whose last question needs one of three things said before, or the results of two turns."""
    if chance.random() < 0.5:
        a, b, c, d = (chance.randint(10, 99) for _ in range(4))
        last = chance.choice(("Add both results.", "What is the sum of both results?"))
        return _chat(
            f"What is {a} + {b}?", str(a + b), f"What is {c} + {d}?", str(c + d), last, answer=str(a + b + c + d)
        )
    people = words.names(chance, 3)
    things, colors = chance.sample(words.PRODUCTS, 3), chance.sample(words.COLORS, 3)
    said = [f"{name} bought a {color} {thing}." for name, color, thing in zip(people, colors, things, strict=True)]
    which = chance.randrange(3)
    question, answer = chance.choice(
        (
            (f"What did {people[which]} buy?", f"a {colors[which]} {things[which]}"),
            (f"Who bought the {things[which]}?", people[which]),
            (f"Which color is the {things[which]}?", colors[which]),
        )
    )
    return _chat(said[0], "Noted.", said[1], "Noted.", said[2], "Noted.", question, answer=answer)


def _chat(*turns: str, answer: str) -> Drill:
    roles = ("user", "assistant")
    return Drill(tuple(Message(roles[number % 2], text) for number, text in enumerate(turns)), answer)
