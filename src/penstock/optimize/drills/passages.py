"""Questions about a passage; easy: two facts; hard: seven sentences, most questions about two of them."""

from __future__ import annotations

import random
from typing import Final

from penstock.optimize.drills import words
from penstock.optimize.drills.drill import Drill, ask

_LIVES: Final = ("{name} lives in {city}.", "{city} is where {name} lives.", "The home of {name} is in {city}.")
_OWNS: Final = ("{name} has a {color} {animal}.", "A {color} {animal} belongs to {name}.")
_ASIDES: Final = (
    "It was a long winter.", "The trains were late that day.", "Nobody had expected so many guests.",
    "The market opens at nine.", "There was music in the street.", "The old bridge is closed.",
)  # fmt: skip
_LAYOUTS: Final = ("{passage} {question}", "Passage: {passage} Question: {question}", "Read this: {passage} {question}")


def easy(chance: random.Random) -> Drill:
    """Draw a passage about two people and ask where one lives or what animal one has."""
    people = words.names(chance, 2)
    if chance.random() < 0.5:
        homes = dict(zip(people, chance.sample(words.CITIES, 2), strict=True))
        facts = [chance.choice(_LIVES).format(name=name, city=city) for name, city in homes.items()]
        asked = chance.choice(people)
        return _about(chance, facts, f"Where does {asked} live?", homes[asked])
    animals = dict(zip(people, chance.sample(words.ANIMALS, 2), strict=True))
    facts = [_owned(chance, name, animal, chance.choice(words.COLORS)) for name, animal in animals.items()]
    asked = chance.choice(people)
    return _about(chance, facts, f"Which animal does {asked} have?", animals[asked])


def hard(chance: random.Random) -> Drill:
    """Draw a passage about three people, their homes and animals; most questions need two of its facts."""
    people = words.names(chance, 3)
    homes, animals = chance.sample(words.CITIES, 3), chance.sample(words.ANIMALS, 3)
    colors = chance.sample(words.COLORS, 3)
    facts = [chance.choice(_LIVES).format(name=name, city=city) for name, city in zip(people, homes, strict=True)]
    facts += [_owned(chance, *each) for each in zip(people, animals, colors, strict=True)]
    facts.append(chance.choice(_ASIDES))
    chance.shuffle(facts)
    which = chance.randrange(3)
    question, answer = chance.choice(
        (
            (f"In which city does the owner of the {animals[which]} live?", homes[which]),
            (f"Which animal lives in {homes[which]}?", animals[which]),
            (f"Who has the {colors[which]} {animals[which]}?", people[which]),
            (f"What color is the animal of the person from {homes[which]}?", colors[which]),
        )
    )
    return _about(chance, facts, question, answer)


def _owned(chance: random.Random, name: str, animal: str, color: str) -> str:
    return chance.choice(_OWNS).format(name=name, animal=animal, color=color)


def _about(chance: random.Random, facts: list[str], question: str, answer: str) -> Drill:
    return ask(chance.choice(_LAYOUTS).format(passage=" ".join(facts), question=question), answer)
