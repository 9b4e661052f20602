"""Labels for a message; easy: its topic or its sentiment; hard: both, or the sentiment of two parts that disagree."""

from __future__ import annotations

import random
from typing import Final

from penstock.optimize.drills import words
from penstock.optimize.drills.drill import Drill, ask

_TOPICS: Final[dict[str, tuple[str, ...]]] = {
    "billing": (
        "I was charged {amount} twice for the {product}", "There is a fee of {amount} on my invoice",
        "My card was charged {amount} on {day}", "The invoice for the {product} says {amount}",
        "My payment of {amount} failed on {day}", "The discount for the {product} was not taken off the price",
        "The bill of {day} is {amount} higher than I expected",
    ),
    "shipping": (
        "My parcel to {city} was due on {day}", "The {product} was sent {count} days ago and is not here",
        "The delivery to {city} takes {count} days", "The tracking page has not changed for {count} days",
        "The courier left the {product} in {city}", "The {product} was delivered on {day} to the wrong house",
    ),
    "returns": (
        "I sent the {color} {product} back on {day}", "I want to exchange the {product} for a {color} one",
        "The {product} does not fit and I would like to swap it", "I need a return label for the {color} {product}",
        "I returned the {product} {count} days ago and wait for the refund",
    ),
    "account": (
        "My login has been locked since {day}", "The password for the account of {name} was reset on {day}",
        "I changed the user name of my profile to {name}", "Someone signed in to my account from {city}",
        "I added {name} as second user of our account",
    ),
    "technical": (
        "The app shows error {code} since {day}", "The {product} freezes after {count} seconds",
        "The {color} {product} does not turn on any more", "After the update the {product} shows error {code}",
        "The website has been down for {count} hours",
    ),
}  # fmt: skip
_SENTIMENTS: Final[dict[str, tuple[str, ...]]] = {
    "positive": (
        "I am very happy with it", "Great service", "I love it", "This works perfectly", "You have been very kind",
        "That was quick and friendly", "I am delighted", "Wonderful, well done",
    ),
    "negative": (
        "I am really angry", "This is a terrible service", "I hate this", "What a disappointment",
        "I will never buy here again", "Nobody cares, it is a shame", "I am very upset", "This is awful",
    ),
    "neutral": (
        "I am just asking", "This is for your information", "Please take note of it", "I have no further remark",
        "I am only letting you know", "No action is needed",
    ),
}  # fmt: skip
_TOPIC_PROMPTS: Final = (
    "Topic of this message: {message}", "What is the topic of this message? {message}",
    "Which topic is this? {message}",
    "Billing, shipping, returns, account or technical? {message}",
)  # fmt: skip
_SENTIMENT_PROMPTS: Final = (
    "Sentiment of this message: {message}", "What is the sentiment of this message? {message}",
    "Positive, negative or neutral? {message}",
)  # fmt: skip
_BOTH_PROMPTS: Final = ("Topic and sentiment of this message: {message}", "Name topic and sentiment: {message}")
_PART_PROMPTS: Final = (
    "How does the writer feel about the {thing}? {message}",
    "Sentiment about the {thing} in this message: {message}",
)
_THINGS: Final = ("price", "delivery", "support", "quality", "website")


def easy(chance: random.Random) -> Drill:
    """Draw a message and ask for its topic or for its sentiment."""
    message, topic, sentiment = _message(chance)
    if chance.random() < 0.5:
        return ask(chance.choice(_TOPIC_PROMPTS).format(message=message), topic)
    return ask(chance.choice(_SENTIMENT_PROMPTS).format(message=message), sentiment)


def hard(chance: random.Random) -> Drill:
    """Draw a message and ask for both, or one with several feelings and ask for one of them."""
    if chance.random() < 0.5:
        message, topic, sentiment = _message(chance)
        return ask(chance.choice(_BOTH_PROMPTS).format(message=message), f"{topic}, {sentiment}")
    feelings = {thing: chance.choice(("positive", "negative")) for thing in chance.sample(_THINGS, 3)}
    parts = [_feeling(chance, thing, feeling) for thing, feeling in feelings.items()]
    thing = chance.choice(tuple(feelings))
    message = words.dressed(chance, ". ".join(parts) + ".")
    return ask(chance.choice(_PART_PROMPTS).format(thing=thing, message=message), feelings[thing])


def _feeling(chance: random.Random, thing: str, feeling: str) -> str:
    good = ("The {} is great", "I really like the {}", "The {} is better than expected", "No complaints about the {}")
    bad = ("The {} is awful", "I do not like the {}", "The {} is worse than expected", "The {} is not good at all")
    return chance.choice(good if feeling == "positive" else bad).format(thing)


def _message(chance: random.Random) -> tuple[str, str, str]:
    topic, sentiment = chance.choice(tuple(_TOPICS)), chance.choice(tuple(_SENTIMENTS))
    fact = chance.choice(_TOPICS[topic]).format(
        amount=f"${chance.randrange(1, 1000)}",
        product=chance.choice(words.PRODUCTS),
        color=chance.choice(words.COLORS),
        day=chance.choice(words.DAYS),
        city=chance.choice(words.CITIES),
        count=chance.randrange(2, 60),
        code=chance.randrange(100, 1000),
        name=chance.choice(words.NAMES),
    )
    parts = [fact, chance.choice(_SENTIMENTS[sentiment])]
    if chance.random() < 0.3:
        parts.reverse()
    return words.dressed(chance, ". ".join(parts) + "."), topic, sentiment
