"""Labels for a message; easy: its topic or its sentiment; hard: both, or the sentiment of one of three parts."""

from __future__ import annotations

import random
from typing import Final

from penstock.optimize.drills import words
from penstock.optimize.drills.drill import Drill, ask

# Nothing in these says whether the writer is content.
_FACTS: Final[dict[str, tuple[str, ...]]] = {
    "billing": (
        "The invoice for the {product} came on {day}", "I paid {amount} by card on {day}",
        "My receipt over {amount} is dated {day}", "The price of the {product} on my invoice is {amount}",
    ),
    "shipping": (
        "The parcel to {city} arrived on {day}", "The courier brought the {product} on {day}",
        "The {product} was dispatched to {city} on {day}", "The delivery to {city} took {count} days",
    ),
    "returns": (
        "I sent the {color} {product} back on {day}", "I exchanged the {product} for a {color} one on {day}",
        "The return label for the {color} {product} came on {day}", "I returned the {product} after {count} days",
    ),
    "account": (
        "I changed my password on {day}", "I changed the user name of my profile to {name}",
        "I added {name} as a second user of our account", "I signed in to my account from {city} on {day}",
    ),
    "technical": (
        "I installed the update of the app on {day}", "The new version of the app has run for {count} days",
        "I set up the software of the {product} on {day}", "I restarted the {product} {count} times on {day}",
    ),
}  # fmt: skip
_PROBLEMS: Final[dict[str, tuple[str, ...]]] = {
    "billing": (
        "I was charged {amount} twice for the {product}", "There is a fee of {amount} on my invoice",
        "My card was charged {amount} on {day} and I do not know why",
        "The discount for the {product} was not taken off the price",
        "The bill of {day} is {amount} higher than I expected",
    ),
    "shipping": (
        "My parcel to {city} was due on {day}", "The {product} was sent {count} days ago and is not here",
        "The courier left the {product} with a neighbour in {city}",
        "The {product} was delivered on {day} to the wrong house",
    ),
    "returns": (
        "I want to send the {color} {product} back", "I want to exchange the {product} for a {color} one",
        "The {product} does not fit and I would like to swap it", "I need a return label for the {color} {product}",
    ),
    "account": (
        "My login has been locked since {day}", "I forgot the password of my profile on {day}",
        "Someone signed in to my account from {city}", "Please delete the account of {name}",
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
    "Topic (billing, shipping, returns, account or technical): {message}",
    "Is this about billing, shipping, returns, account or technical? {message}",
    "Billing, shipping, returns, account or technical? {message}",
)
_SENTIMENT_PROMPTS: Final = (
    "Sentiment (positive, negative or neutral): {message}", "Is this positive, negative or neutral? {message}",
    "Positive, negative or neutral? {message}",
)  # fmt: skip
_BOTH_PROMPTS: Final = (
    "Topic (billing, shipping, returns, account or technical), sentiment (positive, negative or neutral): {message}",
)
_PART_PROMPTS: Final = (
    "Positive or negative: how does the writer feel about the {thing}? {message}",
    "Sentiment about the {thing}, positive or negative: {message}",
)
_THINGS: Final = ("price", "delivery", "support", "quality", "website")


def easy(chance: random.Random) -> Drill:
    """Draw a message and ask for its topic or for its sentiment."""
    if chance.random() < 0.5:
        topic = chance.choice(tuple(_PROBLEMS))
        problem = words.filled(chance, chance.choice(_PROBLEMS[topic] + _FACTS[topic]))
        return ask(chance.choice(_TOPIC_PROMPTS).format(message=words.dressed(chance, problem + ".")), topic)
    message, _, sentiment = _message(chance)
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
    good = ("The {} is great", "I really like the {}", "The {} is better than expected", "The {} is very good")
    bad = ("The {} is awful", "I do not like the {}", "The {} is worse than expected", "The {} is not good at all")
    return chance.choice(good if feeling == "positive" else bad).format(thing)


def _message(chance: random.Random) -> tuple[str, str, str]:
    topic, sentiment = chance.choice(tuple(_FACTS)), chance.choice(tuple(_SENTIMENTS))
    parts = [words.filled(chance, chance.choice(_FACTS[topic])), chance.choice(_SENTIMENTS[sentiment])]
    if chance.random() < 0.3:
        parts.reverse()
    return words.dressed(chance, ". ".join(parts) + "."), topic, sentiment
