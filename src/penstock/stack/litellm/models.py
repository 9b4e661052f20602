"""The names that clients ask for: entries of one name become a model, with weights, fallbacks and time limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.deployments import Member
from penstock.stack.litellm.notes import Notes
from penstock.stack.litellm.weights import Strategy, scaled, weigh
from penstock.stack.reader import shown
from penstock.stack.units import Duration

MOST = 1000  # models that a stack may have

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_MOST_NAMED = 64  # deployments that a model may name as targets, and as fallbacks
_LONGEST_MS: Final = {"timeout": 7 * 86_400_000, "stream_timeout": 86_400_000}
_USUAL_TOTAL_MS = 600_000  # Penstock's, where nothing is said


class Model(msgspec.Struct, frozen=True):
    """
    Attributes:
        targets: deployments with their weights; all equal where nothing says otherwise.
        adaptive: the weights adapt to what each can do.
        tried_next: other deployments of the same model, in order.
        fallback: those of other models after them.
        timeout: `first_token` and `total` of the stack, as far as the source says them.
        lines: of the entries that it comes from.
        alias_of: the model that this is another name of, or empty.
    """

    targets: Mapping[str, Decimal]
    adaptive: bool
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
        if self.adaptive:
            found["weights"] = "adaptive"
        # The targets are tried before the fallbacks, so none of them is named twice.
        fallback = [name for name in dict.fromkeys((*self.tried_next, *self.fallback)) if name not in self.targets]
        if fallback:
            found["fallback"] = fallback[:_MOST_NAMED]
        if self.timeout:
            found["timeout"] = dict(self.timeout)
        return found


def models(
    members: Iterable[Member], defaults: Mapping[str, Cursor], strategy: Strategy, notes: Notes
) -> dict[str, Model]:
    """
    Return the models by name.

    Args:
        defaults: `timeout` and `stream_timeout` of the router, for entries without their own.
        strategy: how the router chooses one of a model's entries.
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
    return {name: _model(group, defaults, strategy, notes) for name, group in groups.items()}


def well_named(name: str) -> bool:
    """Tell whether a model of a stack may have this name."""
    return _NAME.fullmatch(name) is not None


def _model(group: Sequence[Member], defaults: Mapping[str, Cursor], strategy: Strategy, notes: Notes) -> Model:
    tiers = _tiers(group, notes)
    weights = weigh(tiers, strategy, notes)
    targets = scaled(dict(list(weights.items())[:_MOST_NAMED]))
    # LiteLLM tries a failed request again on another entry of the same name, even if that weighs nothing.
    others = [name for name in dict.fromkeys(each.deployment for tier in tiers for each in tier) if name not in targets]
    if len(others) > _MOST_NAMED:
        told = f"a model names at most {_MOST_NAMED} targets and as many fallbacks; those beyond are not tried"
        notes.left_out(group[0].at, told)
    return Model(
        targets=targets,
        adaptive=strategy.adaptive and len(targets) > 1,
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
