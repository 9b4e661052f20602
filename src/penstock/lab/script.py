"""
Scripts: which requests get which order, when no header says so.

A script is a list of rules, in a YAML or JSON file or made in Python. Each rule counts the requests that fit its path,
model and prompt, whether or not an earlier rule answers them, so that `nth` and `every` do not depend on other rules.
The first rule that fires gives the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from penstock.lab.grammar import from_mapping, nearest, parse
from penstock.lab.orders import Order, OrderError

MAX_RULES = 1000


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    Attributes:
        path: glob of the path, such as `/v1/chat/*`.
        model: glob of the model asked for.
        prompt: text that the last user message contains.
        nth: which of the requests that fit, counted from 1; empty is all.
        every: each so-many-th of them.
        probability: chance of each that is left, drawn from the script's seed.
        times: how often the rule fires at most.
    """

    order: Order
    path: str | None = None
    model: str | None = None
    prompt: str | None = None
    nth: tuple[Annotated[int, Meta(ge=1)], ...] = ()
    every: Annotated[int, Meta(ge=1)] = 1
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    times: Annotated[int, Meta(ge=1)] | None = None

    def __post_init__(self) -> None:
        if self.early and (self.model is not None or self.prompt is not None):
            raise ValueError("a rule about reading the body cannot match on the model or prompt in it")

    @property
    def early(self) -> bool:
        """The order must be known before the body is read."""
        return self.order.read != "all" or self.order.read_rate is not None


class _Counter:
    def __init__(self, rule: Rule, random: Random) -> None:
        self.rule = rule
        self._random = random
        self._seen = 0
        self._fired = 0

    def wants(self, path: str, model: str, prompt: str) -> bool:
        rule = self.rule
        if rule.path is not None and not fnmatchcase(path, rule.path):
            return False
        if rule.model is not None and not fnmatchcase(model, rule.model):
            return False
        if rule.prompt is not None and rule.prompt not in prompt:
            return False
        self._seen += 1
        if self._seen % rule.every or (rule.nth and self._seen not in rule.nth):
            return False
        if rule.probability < 1 and self._random.random() >= rule.probability:
            return False
        return rule.times is None or self._fired < rule.times

    def fire(self) -> Order:
        self._fired += 1
        return self.rule.order


class Script:
    """Rules with their counters. Belongs to one upstream; replacing the script starts the counters anew."""

    def __init__(self, rules: Sequence[Rule] = (), seed: int = 0) -> None:
        if len(rules) > MAX_RULES:
            raise OrderError(f"a script has at most {MAX_RULES} rules, this one has {len(rules)}")
        counters = [_Counter(rule, Random(f"{seed}/{index}")) for index, rule in enumerate(rules)]  # noqa: S311 (chance, not secrecy)
        self._early = [counter for counter in counters if counter.rule.early]
        self._late = [counter for counter in counters if not counter.rule.early]

    def __len__(self) -> int:
        return len(self._early) + len(self._late)

    def before_body(self, path: str) -> Order | None:
        """Return the order of a rule about reading the body."""
        return _first(self._early, path, "", "") if self._early else None

    def after_body(self, path: str, model: str, prompt: str) -> Order | None:
        """Return the order of any other rule. Each request asks at most once."""
        return _first(self._late, path, model, prompt) if self._late else None


def _first(counters: list[_Counter], path: str, model: str, prompt: str) -> Order | None:
    wanting = [counter for counter in counters if counter.wants(path, model, prompt)]
    return wanting[0].fire() if wanting else None


def load(path: Path) -> Script:
    """
    Read a script from a file.

    Raises:
        OrderError: the file cannot be read, or is not a script.
    """
    try:
        return read(path.read_bytes())
    except OSError as error:
        raise OrderError(f"the script {path} cannot be read: {error.strerror}") from error
    except OrderError as error:
        raise OrderError(f"the script {path}: {error}") from error


def read(text: bytes) -> Script:
    """
    Read a script from YAML or JSON: a list of rules, or `{seed: ..., rules: [...]}`.

    Raises:
        OrderError: the text is not a script.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise OrderError(f"not YAML or JSON: {' '.join(str(error).split())}") from error
    seed = 0
    if isinstance(document, dict):
        for name in document:
            if name not in {"seed", "rules"}:
                raise OrderError(f"a script has `seed` and `rules`, not `{name}`")
        seed, document = document.get("seed", 0), document.get("rules", [])
    if not isinstance(seed, int):
        raise OrderError(f"`seed` is a whole number, not `{seed}`")
    if not isinstance(document, list):
        raise OrderError("a script is a list of rules")
    return Script([_rule(index, fields) for index, fields in enumerate(document, start=1)], seed)


def _rule(index: int, fields: object) -> Rule:
    if not isinstance(fields, dict):
        raise OrderError(f"rule {index} is not a mapping")
    values: dict[str, Any] = dict(fields)
    for name in values:
        if name not in Rule.__struct_fields__:
            raise OrderError(f"rule {index}: unknown `{name}`{nearest(str(name), Rule.__struct_fields__)}")
    if "order" not in values:
        raise OrderError(f"rule {index} has no `order`")
    order = values["order"]
    try:
        if isinstance(order, str):
            values["order"] = parse(order)
        elif isinstance(order, dict):
            values["order"] = from_mapping({str(name): value for name, value in order.items()})
        return msgspec.convert(values, Rule)
    except OrderError as error:
        raise OrderError(f"rule {index}: {error}") from error
    except msgspec.ValidationError as error:
        raise OrderError(f"rule {index}: {error}") from error
