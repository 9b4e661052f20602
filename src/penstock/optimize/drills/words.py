"""Words that several families put into their sentences. ASCII only."""

from __future__ import annotations

import random
from typing import Final

NAMES: Final = (
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Hugo", "Ida", "Jonas", "Karim", "Lena", "Mei", "Omar",
    "Paul", "Rosa", "Sara", "Tom", "Uma", "Viktor", "Wendy", "Yara", "Zoe", "Nils",
)  # fmt: skip
CITIES: Final = (
    "Berlin", "Paris", "Oslo", "Madrid", "Rome", "Vienna", "Dublin", "Lisbon", "Prague", "Turin", "Leeds", "Ghent",
)  # fmt: skip
PRODUCTS: Final = (
    "lamp", "chair", "kettle", "phone", "laptop", "printer", "camera", "headset", "keyboard", "blender", "monitor",
    "router", "speaker", "watch", "heater", "toaster", "drill", "scanner", "radio", "fan",
)  # fmt: skip
COLORS: Final = ("red", "blue", "green", "black", "white", "grey", "yellow", "brown")
ANIMALS: Final = ("cat", "dog", "horse", "rabbit", "parrot", "goat", "hamster", "turtle")
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
MONTH_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Of each month, in a year that is no leap year."""
WORDS: Final = (
    "apple", "bread", "cloud", "dance", "earth", "flame", "grape", "house", "island", "juice", "knife", "lemon",
    "music", "night", "ocean", "paper", "queen", "river", "stone", "table", "uncle", "voice", "water", "young",
    "zebra", "bridge", "candle", "dragon", "engine", "forest", "garden", "hammer", "insect", "jacket", "kitten",
    "ladder", "market", "needle", "orange", "pencil", "rocket", "silver", "tunnel", "velvet", "window", "yellow",
    "button", "cactus", "desert", "finger",
)  # fmt: skip
"""Words of five or six letters, no two with the same first two letters and the same length."""

OPENERS: Final = ("", "", "", "", "Hi. ", "Hello. ", "Hi there. ", "Good morning. ", "Dear team. ")
CLOSERS: Final = ("", "", "", "", " Thanks.", " Thank you!", " Best wishes")


def names(chance: random.Random, count: int) -> list[str]:
    """Return so many different names."""
    return chance.sample(NAMES, count)


def dressed(chance: random.Random, message: str) -> str:
    """Return a message as people begin and end theirs."""
    return chance.choice(OPENERS) + message + chance.choice(CLOSERS)


def filled(chance: random.Random, template: str) -> str:
    """Return a sentence with what is drawn for its slots; of the same name there is one value."""
    return template.format(
        amount=f"${chance.randrange(10, 1000)}",
        product=chance.choice(PRODUCTS),
        color=chance.choice(COLORS),
        day=chance.choice(DAYS),
        city=chance.choice(CITIES),
        count=chance.randrange(2, 60),
        code=chance.randrange(100, 1000),
        name=chance.choice(NAMES),
    )
