"""
Short chat tasks with exactly one right answer, drawn from a seed.

Pure functions over a `random.Random`; nothing here needs more than the standard library, so that tests and benchmarks
can take their prompts from here. Training and evaluation draw from `stream("train", ...)` and `stream("eval", ...)`,
which never share a seed. Of the sums and differences of two two-digit numbers a fixed tenth is held out: training
never sees them.
"""

import random
import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from tools.reference_models import phrases

Split = Literal["train", "eval"]
Pairs = Literal["all", "train", "held_out"]
"""Which (a, b) pairs arithmetic may draw: any, those that training may see, or those that it never sees."""

HELD_OUT_SHARE: Final = 10
"""One in so many pairs of two-digit operands is held out."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and the one right answer to it."""

    user: str
    answer: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A chat that ends in a question; `answer` is the only right reply to it."""

    task: str
    system: str | None
    earlier: tuple[Turn, ...]
    question: str
    answer: str

    def messages(self) -> list[dict[str, str]]:
        """The request's `messages`, in the shape of the OpenAI chat API, without the reply."""
        found = [{"role": "system", "content": self.system}] if self.system is not None else []
        for turn in self.earlier:
            found += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.answer}]
        return [*found, {"role": "user", "content": self.question}]


def stream(split: Split, seed: int, *names: str | int) -> random.Random:
    """A generator for one part of one split, e.g. `stream("train", 7, step)`; no two names share a seed."""
    return random.Random("/".join(map(str, ("penstock-mini", split, seed, *names))))


def held_out(sign: str, a: int, b: int) -> bool:
    """Whether training must not see `a sign b`. Only two-digit operands are held out: 2 + 2 has too few relatives."""
    return min(a, b) >= 10 and zlib.crc32(f"{a}{sign}{b}".encode()) % HELD_OUT_SHARE == 0


def arithmetic(rng: random.Random, pairs: Pairs = "all") -> Turn:
    """A sum or a difference of two numbers from 0 to 99. No difference is negative."""
    sign = rng.choice("+-")
    while True:
        a, b = rng.randrange(100), rng.randrange(100)
        if sign == "-" and a < b:
            a, b = b, a
        if pairs == "all" or held_out(sign, a, b) == (pairs == "held_out"):
            break
    phrasing = rng.choice(phrases.ADDITION if sign == "+" else phrases.SUBTRACTION)
    return Turn(phrasing.format(a=a, b=b), str(a + b if sign == "+" else a - b))


def topic(rng: random.Random, pairs: Pairs = "all") -> Turn:  # noqa: ARG001 - one signature for all tasks
    """The topic of a support message: one of the keys of `phrases.TOPIC_MESSAGES`."""
    label = rng.choice(tuple(phrases.TOPIC_MESSAGES))
    message = _dressed(rng, rng.choice(phrases.TOPIC_MESSAGES[label]))
    return Turn(rng.choice(phrases.TOPIC_PROMPTS).format(message=message), label)


def order(rng: random.Random, pairs: Pairs = "all") -> Turn:  # noqa: ARG001 - one signature for all tasks
    """An order number out of a sentence: the only number of five or six digits among shorter ones."""
    number = str(rng.randrange(10_000, 100_000) if rng.random() < 0.7 else rng.randrange(100_000, 1_000_000))
    message = _dressed(rng, rng.choice(phrases.ORDER_MESSAGES), order=number)
    return Turn(rng.choice(phrases.ORDER_PROMPTS).format(message=message), number)


def greeting(rng: random.Random, pairs: Pairs = "all") -> Turn:  # noqa: ARG001 - one signature for all tasks
    """A greeting, thanks, or a question about the model itself; each has a fixed reply."""
    reply = rng.choice(tuple(phrases.GREETINGS))
    return Turn(_filled(rng, rng.choice(phrases.GREETINGS[reply])), reply)


TASKS: Final[dict[str, Callable[[random.Random, Pairs], Turn]]] = {
    "arithmetic": arithmetic,
    "topic": topic,
    "order": order,
    "greeting": greeting,
}
# Topics and greetings are learned within minutes; most samples go where there is most to learn.
WEIGHTS: Final = {"arithmetic": 68, "topic": 7, "order": 20, "greeting": 5}


def sample(task: str, rng: random.Random, pairs: Pairs = "all", *, bare: bool = False) -> Conversation:
    """One conversation ending in a question of `task`; unless `bare`, often with a system prompt or earlier turns."""
    if bare:
        only = TASKS[task](rng, pairs)
        return Conversation(task, None, (), only.user, only.answer)
    system = _filled(rng, rng.choice(phrases.SYSTEM_PROMPTS)) if rng.random() < 0.22 else None
    # Mostly none; a few long histories keep the model steady when a prompt is much longer than a question.
    count = rng.choices((0, 1, 2, rng.randrange(3, 9)), (70, 15, 12, 3))[0]
    earlier = tuple(TASKS[pick(rng)](rng, pairs if pairs != "held_out" else "all") for _ in range(count))
    last = TASKS[task](rng, pairs)
    return Conversation(task, system, earlier, last.user, last.answer)


def pick(rng: random.Random) -> str:
    """The name of a task, by its weight in training."""
    return rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]


def training_samples(seed: int, step: int, count: int, *, bare: bool = False) -> list[Conversation]:
    """The `count` conversations of one training step, without held-out pairs, also not in earlier turns."""
    rng = stream("train", seed, step)
    return [sample(pick(rng), rng, "train", bare=bare) for _ in range(count)]


def evaluation_samples(task: str, seed: int, count: int, pairs: Pairs = "all") -> list[Conversation]:
    """`count` fresh conversations of one task."""
    rng = stream("eval", seed, task, pairs)
    return [sample(task, rng, pairs) for _ in range(count)]


def _dressed(rng: random.Random, message: str, **fixed: str) -> str:
    """The message between an opener and a closer, all slots filled."""
    return _filled(rng, rng.choice(phrases.OPENERS) + message + rng.choice(phrases.CLOSERS), **fixed)


def _filled(rng: random.Random, template: str, **fixed: str) -> str:
    """Fill each named slot; numbers have at most four digits in a row, so that none looks like an order number."""
    values = dict(fixed)
    for _, name, _, _ in string.Formatter().parse(template):
        if name is None or name in values:
            continue
        match name:
            case "amount":
                values[name] = f"${rng.randrange(1, 1000)}" + rng.choice(("", f".{rng.randrange(100):02d}"))
            case "count":
                values[name] = str(rng.randrange(2, 100))
            case "code":
                values[name] = str(rng.randrange(100, 10_000))
            case _:
                values[name] = rng.choice(phrases.SLOTS[name])
    return template.format(**values)
