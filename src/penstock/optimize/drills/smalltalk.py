"""Greetings and questions about the model; hard: inside longer messages, in other words."""

from __future__ import annotations

import random
from typing import Final

from penstock.optimize.drills import words
from penstock.optimize.drills.drill import Drill, ask

GREETING: Final = "Hello! How can I help you?"
IDENTITY: Final = "I am Penstock's small test model."
ABILITY: Final = "I calculate, convert, sort, extract and answer questions about what you tell me."
THANKS: Final = "You are welcome."
FAREWELL: Final = "Goodbye!"

_OPENINGS: Final = ("", "", "Hello, ", "Hi, ", "Hey, ", "Good morning, ", "Good evening, ", "Excuse me, ", "So, ")
_SELF: Final = ("", "", " I am {name}.", " My name is {name}.", " This is {name} from {city}.", " {name} here.")
_EASY: Final[dict[str, tuple[str, ...]]] = {
    GREETING: (
        "Hello", "Hello!", "Hi", "Hi!", "Hey", "Hey!", "Hello there!", "Hi there!", "Good morning!", "Good evening!",
        "Good afternoon!", "Greetings!",
    ),
    IDENTITY: (
        "who are you?", "what are you?", "what is your name?", "which model are you?", "what model is this?",
        "who am I talking to?", "tell me who you are.", "introduce yourself.", "are you a model?",
    ),
    ABILITY: (
        "what can you do?", "how can you help me?", "what are you able to do?", "what do you know?",
        "what can you do for me?", "what can I ask you?",
    ),
    THANKS: (
        "Thanks", "Thanks!", "Thank you", "Thank you!", "Thank you very much.", "Thanks a lot!", "Many thanks!",
    ),
    FAREWELL: ("Bye", "Bye!", "Goodbye", "Goodbye!", "See you!", "Good night!", "Until next time!"),
}  # fmt: skip
_SITUATIONS: Final = (
    "I have just come back from {city} and found this page.", "My friend {name} told me about you.",
    "It is {day} and I am new here.", "I bought a {product} last {day}.", "I have never done this before.",
    "The {product} works again.", "I have been waiting since {day}.",
)  # fmt: skip
_HARD: Final[dict[str, tuple[str, ...]]] = {
    GREETING: ("I only wanted to say hello.", "So: good morning to you!", "Just a friendly greeting from me."),
    IDENTITY: ("With whom do I have the pleasure?", "Is there a name I can call you by?", "Whom am I writing to here?"),
    ABILITY: ("For what can I use you?", "In which matters are you of use?", "Name what you are good at."),
    THANKS: ("I am grateful for that.", "You have helped me a lot.", "I owe you one."),
    FAREWELL: ("I have to go now.", "That is it for today, take care.", "I am off then."),
}


def easy(chance: random.Random) -> Drill:
    """Draw a greeting, thanks, a farewell, or a plain question about the model."""
    answer = chance.choice(tuple(_EASY))
    text = chance.choice(_EASY[answer])
    if text[0].islower():
        text = chance.choice(_OPENINGS) + text
        text = text[0].upper() + text[1:]
    if text[-1] in ".!?":
        text += words.filled(chance, chance.choice(_SELF))
    return ask(text, answer)


def hard(chance: random.Random) -> Drill:
    """Draw the same after something about the writer, said in other words."""
    answer = chance.choice(tuple(_HARD))
    return ask(f"{words.filled(chance, chance.choice(_SITUATIONS))} {chance.choice(_HARD[answer])}", answer)
