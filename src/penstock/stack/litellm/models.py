"""The names that clients ask for: entries of one name become a model, with weights, fallbacks and time limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal, localcontext
from math import gcd
from typing import Any, Final

import msgspec

from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.deployments import Member
from penstock.stack.litellm.notes import Notes
from penstock.stack.reader import shown
from penstock.stack.units import Duration

MOST = 1000  # models that a stack may have

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_MOST_NAMED = 64  # deployments that a model may name as targets, and as fallbacks
_HEAVIEST = 1_000_000
_MEASURES: Final = ("weight", "rpm", "tpm")  # what LiteLLM's simple-shuffle weighs by, the first that is there
_LONGEST_MS: Final = {"timeout": 7 * 86_400_000, "stream_timeout": 86_400_000}
_USUAL_TOTAL_MS = 600_000  # Penstock's, where nothing is said


class Model(msgspec.Struct, frozen=True):
    """
    Attributes:
        targets: deployments with their weights; all equal where nothing says otherwise.
        tried_next: other deployments of the same model, in order.
        fallback: those of other models after them.
        timeout: `first_token` and `total` of the stack, as far as the source says them.
        lines: of the entries that it comes from.
        alias_of: the model that this is another name of, or empty.
    """

    targets: Mapping[str, Decimal]
    tried_next: tuple[str, ...]
    timeout: Mapping[str, str]
    lines: tuple[int, ...]
    fallback: tuple[str, ...] = ()
    alias_of: str = ""

    @property
    def everything(self) -> tuple[str, ...]:
        """All deployments of the model itself, the heaviest target first."""
        heaviest = sorted(self.targets, key=lambda name: -self.targets[name])
        return tuple(dict.fromkeys((*heaviest, *self.tried_next)))

    def values(self) -> dict[str, Any]:
        """Return it as the stack file has it."""
        even = len(set(self.targets.values())) == 1
        found: dict[str, Any] = {"targets": list(self.targets) if even else dict(self.targets)}
        only = next(iter(self.targets)) if len(self.targets) == 1 else None
        fallback = [name for name in dict.fromkeys((*self.tried_next, *self.fallback)) if name != only]
        if fallback:
            found["fallback"] = fallback[:_MOST_NAMED]
        if self.timeout:
            found["timeout"] = dict(self.timeout)
        return found


def models(
    members: Iterable[Member], defaults: Mapping[str, Cursor], by_weight: bool, notes: Notes
) -> dict[str, Model]:
    """
    Return the models by name.

    Args:
        defaults: `timeout` and `stream_timeout` of the router, for entries without their own.
        by_weight: the router chooses by weights; else its strategy looks at something that is not in the file.
    """
    groups: dict[str, list[Member]] = {}
    for member in members:
        if not well_named(member.model):
            told = f"{shown(member.model)} cannot be a model's name: it has letters, digits and . _ - : / only"
            notes.left_out(member.at.get("model_name"), told)
        elif member.model not in groups and len(groups) >= MOST:
            notes.left_out(member.at, f"a stack has at most {MOST} models")
        else:
            groups.setdefault(member.model, []).append(member)
    return {name: _model(group, defaults, by_weight, notes) for name, group in groups.items()}


def well_named(name: str) -> bool:
    """Tell whether a model of a stack may have this name."""
    return _NAME.fullmatch(name) is not None


def _model(group: Sequence[Member], defaults: Mapping[str, Cursor], by_weight: bool, notes: Notes) -> Model:
    tiers = _tiers(group, notes)
    weights = (
        _weights(tiers[0], notes) if by_weight else dict.fromkeys((each.deployment for each in tiers[0]), Decimal(1))
    )
    targets = {name: weight for name, weight in weights.items() if weight > 0} or dict.fromkeys(weights, Decimal(1))
    targets = _scaled(dict(list(targets.items())[:_MOST_NAMED]))
    rest = [each.deployment for tier in tiers for each in tier]
    # LiteLLM tries a failed request again on another entry of the same name, so the targets stand in for one another.
    others = [name for name in dict.fromkeys(rest) if len(targets) > 1 or name not in targets]
    if len(others) > _MOST_NAMED:
        told = f"a model names at most {_MOST_NAMED} deployments; those beyond are not tried"
        notes.left_out(group[0].at, told)
    return Model(
        targets=targets,
        tried_next=tuple(others[:_MOST_NAMED]),
        timeout=_timeout(group, defaults, notes),
        lines=tuple(dict.fromkeys(each.at.line for each in group)),
    )


def _tiers(group: Sequence[Member], notes: Notes) -> list[list[Member]]:
    """Sort the entries by their `order`; those without one come last, where another has one."""
    tiers: dict[Decimal, list[Member]] = {}
    for member in group:
        given = member.setting("order") or member.info("order")
        order = given.number if given is not None else None
        if given is not None and order is None:
            notes.left_out(given, "it is not a number")
        tiers.setdefault(Decimal("Infinity") if order is None else order, []).append(member)
    return [tiers[order] for order in sorted(tiers)]


def _weights(tier: Sequence[Member], notes: Notes) -> dict[str, Decimal]:
    """
    Return the weights of the deployments as LiteLLM's simple-shuffle has them.

    The first entry says what is weighed by; one that has none of it weighs nothing. Entries that lead to the same
    deployment weigh together.
    """
    measure = next((key for key in _MEASURES if tier[0].setting(key) is not None), None)
    weights: dict[str, Decimal] = {}
    for member in tier:
        given = member.setting(measure) if measure is not None else None
        weight = Decimal(1) if measure is None else Decimal(0)
        if given is not None:
            number = given.number
            if number is None:
                notes.left_out(given, "it is not a number")
            weight = number or Decimal(0)
        if not weight:
            notes.remark(member.at, "has no weight beside the others, so it only stands in for them when they fail")
        weights[member.deployment] = weights.get(member.deployment, Decimal(0)) + weight
    return weights


def _scaled(weights: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return weights of the same ratio as small as whole numbers can be, within what a stack allows."""
    with localcontext(Context(prec=100)):
        if all(weight == int(weight) for weight in weights.values()):
            divisor = gcd(*(int(weight) for weight in weights.values()))
            weights = {name: weight / divisor for name, weight in weights.items()}
        most = max(weights.values())
        if most > _HEAVIEST:
            weights = {name: weight * _HEAVIEST / most for name, weight in weights.items()}
        least = Decimal("0.000001")
        return {name: max(round(weight, 6), least).normalize() for name, weight in weights.items()}


def _timeout(group: Sequence[Member], defaults: Mapping[str, Cursor], notes: Notes) -> dict[str, str]:
    """Return the time limits of a model: of entries that differ the longest, as a stack has them per model."""
    total = _longest("timeout", group, defaults, notes)
    first = _longest("stream_timeout", group, defaults, notes)
    found = {}
    if first is not None:
        first = min(first, total) if total is not None else first
        found["first_token"] = str(Duration(first))
        if total is None and first > _USUAL_TOTAL_MS:
            total = first
    if total is not None:
        found["total"] = str(Duration(total))
    return found


def _longest(key: str, group: Sequence[Member], defaults: Mapping[str, Cursor], notes: Notes) -> int | None:
    """Return the longest of a time limit over the entries, in milliseconds; None where none of them says one."""
    lengths: list[int | None] = []
    for member in group:
        given = member.setting(key) or defaults.get(key)
        length = None
        if given is not None:
            seconds = given.number
            length = None if seconds is None or seconds > _LONGEST_MS[key] else round(seconds * 1000)
            if length is None or not 1 <= length <= _LONGEST_MS[key]:
                length = None
                notes.left_out(given, "a time limit is a number of seconds, from 1ms to 7 days")
        lengths.append(length)
    if key == "timeout" and any(lengths):
        lengths = [length or _USUAL_TOTAL_MS for length in lengths]
    known = [length for length in lengths if length is not None]
    if len(set(lengths)) > 1:
        told = f"the entries of {shown(group[0].model)} differ in {key}; the model has one, the longest of them"
        notes.remark(group[0].at, told)
    return max(known, default=None)
