"""Facts to JSON and back; easy: two fields; hard: four fields of several types, or one out of a nested object."""

from __future__ import annotations

import json
import random
from typing import Any, Final

from penstock.optimize.drills import words
from penstock.optimize.drills.drill import Drill, ask

_TO_JSON: Final = (
    "Write this as JSON: {facts}", "Turn this into JSON: {facts}", "As JSON with the keys {keys}: {facts}",
)  # fmt: skip
_FROM_JSON: Final = (
    "What is the {key} in this JSON? {document}", "Find the {key}: {document}",
    "Read the {key} from this JSON: {document}",
)  # fmt: skip


def easy(chance: random.Random) -> Drill:
    """Draw two facts to be written as JSON, or one to be read from an object of two."""
    facts = {
        "name": chance.choice(words.NAMES),
        chance.choice(("age", "floor", "room")): chance.randint(1, 99),
    }
    if chance.random() < 0.5:
        return _written(chance, ", ".join(f"{key} {value}" for key, value in facts.items()), facts)
    key = chance.choice(tuple(facts))
    return _read(chance, key, facts, facts[key])


def hard(chance: random.Random) -> Drill:
    """Draw four facts of several types in a sentence, or a nested object with the same key in two places."""
    name, city, product = chance.choice(words.NAMES), chance.choice(words.CITIES), chance.choice(words.PRODUCTS)
    count, paid = chance.randint(2, 99), chance.random() < 0.5
    if chance.random() < 0.5:
        facts: dict[str, Any] = {"name": name, "product": product, "count": count, "paid": paid}
        sentence = chance.choice(
            (
                "{name} ordered {count} times the {product} and has {not_}paid.",
                "{count} of the {product} for {name}, {not_}paid.",
                "The order of {name} is {not_}paid: {product}, {count} pieces.",
            )
        ).format(name=name, product=product, count=count, not_="" if paid else "not ")
        return _written(chance, sentence, facts)
    other = chance.choice([each for each in words.NAMES if each != name])
    document = {
        "buyer": {"name": name, "city": city},
        "seller": {"name": other, "city": chance.choice([each for each in words.CITIES if each != city])},
        "count": count,
    }
    part, key = chance.choice(("buyer", "seller")), chance.choice(("name", "city"))
    found = document[part]
    assert isinstance(found, dict)
    return _read(chance, f"{key} of the {part}", document, found[key])


def _written(chance: random.Random, sentence: str, facts: dict[str, Any]) -> Drill:
    layouts = _TO_JSON if len(facts) == 2 else _TO_JSON[-1:]  # a sentence does not say what its keys are
    question = chance.choice(layouts).format(facts=sentence, keys=", ".join(facts))
    return ask(question, json.dumps(facts))


def _read(chance: random.Random, key: str, document: dict[str, Any], value: object) -> Drill:
    return ask(chance.choice(_FROM_JSON).format(key=key, document=json.dumps(document)), str(value))
