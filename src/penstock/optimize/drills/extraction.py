"""A detail out of a message; easy: the order number; hard: any of several details that are all there."""

from __future__ import annotations

import random
from typing import Final

from penstock.optimize.drills import words
from penstock.optimize.drills.drill import Drill, ask

_ORDER_PROMPTS: Final = (
    "Find the order number: {message}", "What is the order number? {message}", "Extract the order number: {message}",
    "Which order number is in this message? {message}", "Order number in this message: {message}",
)  # fmt: skip
# {order} is the only number of five or six digits; whatever else is a number is shorter.
_ORDERS: Final = (
    "My parcel {order} has not arrived, I ordered it {count} days ago.",
    "Order {order} came without the {product}.",
    "I paid {amount} for order {order} on {day}.",
    "On {day} I ordered {count} items under number {order}.",
    "Where is my order {order}?",
    "The {product} from order {order} shows error {code}.",
    "Please cancel order {order}, I ordered {count} by mistake.",
    "I want to return the {product} of order #{order}.",
    "It has been {count} days and {order} is still not here.",
    "You charged {amount} twice for {order}.",
    "Can you send {order} to {city} instead?",
    "{name} here, order {order}, it is {count} days late.",
    "{order} was due on {day}.",
    "I live at {count} Mill Road in {city} and wait for parcel {order}.",
)
_DETAILS: Final = {
    "e-mail address": "mail",
    "amount": "amount",
    "date": "date",
    "order number": "order",
}
_DETAIL_PROMPTS: Final = (
    "Find the {detail}: {message}", "What is the {detail}? {message}", "Extract the {detail}: {message}",
    "Which {detail} is in this message? {message}",
)  # fmt: skip
_FULL: Final = (
    "I am {name} ({mail}). On {date} I paid {amount} for order {order}.",
    "Order {order} of {date}: {amount} were taken twice. Write to {mail}.",
    "Please send the invoice over {amount} to {mail}, order {order}, bought on {date}.",
    "My mail is {mail}. The {product} of order {order} came on {date} and cost {amount}.",
    "{mail} here. I returned order {order} on {date} and wait for {amount}.",
    "The refund of {amount} for {order} should be here since {date}, says {name}. Mail: {mail}.",
)
_HOSTS: Final = ("mail.com", "post.org", "example.net", "inbox.io", "web.eu")


def easy(chance: random.Random) -> Drill:
    """Draw a message with an order number among shorter numbers."""
    values = _values(chance)
    message = words.dressed(chance, chance.choice(_ORDERS).format(**values))
    return ask(chance.choice(_ORDER_PROMPTS).format(message=message), values["order"])


def hard(chance: random.Random) -> Drill:
    """Draw a message that has an e-mail address, an amount, a date and an order number, and ask for one of them."""
    values = _values(chance)
    detail = chance.choice(tuple(_DETAILS))
    message = words.dressed(chance, chance.choice(_FULL).format(**values))
    return ask(chance.choice(_DETAIL_PROMPTS).format(detail=detail, message=message), values[_DETAILS[detail]])


def _values(chance: random.Random) -> dict[str, str]:
    name = chance.choice(words.NAMES)
    tail = str(chance.randrange(1, 100)) if chance.random() < 0.5 else chance.choice(words.WORDS)
    return {
        "name": name,
        "mail": f"{name.lower()}.{tail}@{chance.choice(_HOSTS)}",
        "amount": f"${chance.randrange(1, 1000)}" + chance.choice(("", f".{chance.randrange(100):02d}")),
        "date": f"{chance.choice(words.MONTHS)} {chance.randint(1, 28)}",
        "order": str(chance.randrange(10_000, 1_000_000)),
        "count": str(chance.randrange(2, 100)),
        "code": str(chance.randrange(100, 10_000)),
        "product": chance.choice(words.PRODUCTS),
        "day": chance.choice(words.DAYS),
        "city": chance.choice(words.CITIES),
    }
