"""
What the entries of one model weigh beside each other, by the strategy of LiteLLM's router.

`weight`, `rpm` and `tpm` are weights with simple-shuffle only, and then limit nothing. Other strategies look at
something that no file holds; those that go by how the deployments do at the moment have `weights: adaptive` for it.
Which of them keep to `rpm` and `tpm` as limits is what LiteLLM's `router_strategy` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, localcontext
from math import gcd
from typing import Final

import msgspec

from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.deployments import Member
from penstock.stack.litellm.notes import Notes

_SHUFFLE: Final = "simple-shuffle"
_MEASURES: Final = ("weight", "rpm", "tpm")  # what simple-shuffle weighs by, the first that is there
_LIMITS: Final = {"rpm": "requests_per_minute", "tpm": "tokens_per_minute"}
_PICKS: Final[Mapping[str, str]] = {
    "latency-based-routing": "latency",
    "least-busy": "requests in progress",
    "usage-based-routing": "tokens of the current minute",
    "usage-based-routing-v2": "tokens of the current minute",
}
_WITHOUT_LIMITS: Final = frozenset({_SHUFFLE, "least-busy"})
_HEAVIEST: Final = 1_000_000
_EVEN: Final = Decimal(1)


class Strategy(msgspec.Struct, frozen=True):
    """
    How LiteLLM chooses one of a model's entries.

    Attributes:
        name: as LiteLLM's `routing_strategy` has it; empty when it is none that is known.
    """

    name: str

    @property
    def by_weight(self) -> bool:
        """Whether it goes by weights that are in the file."""
        return self.name == _SHUFFLE

    @property
    def adaptive(self) -> bool:
        """Whether it goes by what the deployments do at the moment."""
        return self.name in _PICKS

    @property
    def limiting(self) -> bool:
        """Whether LiteLLM leaves out entries that have reached their `rpm` or `tpm`, or nobody knows that."""
        return self.name not in _WITHOUT_LIMITS


def strategy(given: Cursor | None, notes: Notes) -> Strategy:
    """Read `routing_strategy`, and say what becomes of one that does not go by weights."""
    name = _SHUFFLE if given is None else given.text or ""
    if name == _SHUFFLE:
        return Strategy(_SHUFFLE)
    if name in _PICKS:
        told = (
            "models with several targets have weights: adaptive, which goes by latency, errors and seats that are taken"
        )
        notes.remark(given, f"{told}; LiteLLM goes by {_PICKS[name]} alone")
        return Strategy(name)
    told = "a stack's routes go by weights, fixed or adaptive, and the targets of a model weigh the same without this"
    notes.left_out(given, f"{told} strategy")
    return Strategy("")


def weigh(tiers: Sequence[Sequence[Member]], chosen: Strategy, notes: Notes) -> dict[str, Decimal]:
    """
    Return the weights of a model's targets, as small as can be; all equal where nothing says otherwise.

    Entries that lead to the same deployment weigh together.

    Args:
        tiers: the entries by their `order`; those of the first are the targets, and the others are tried after them.
    """
    first = tiers[0]
    several = len({member.deployment for member in first}) > 1
    measure = next((key for key in _MEASURES if first[0].setting(key) is not None), None)
    measure = measure if several and chosen.by_weight else None
    for member in first:
        _tell(member, measure, chosen, notes)
    for tier in tiers[1:]:
        _tell_weights_of_fallbacks(tier, chosen, notes)
    if measure is None:
        return dict.fromkeys((member.deployment for member in first), _EVEN)
    weights: dict[str, Decimal] = {}
    for member in first:
        weights[member.deployment] = weights.get(member.deployment, Decimal(0)) + _weight(member, measure, notes)
    found = {name: weight for name, weight in weights.items() if weight > 0}
    if not found:
        return dict.fromkeys(weights, _EVEN)
    for member in first:
        if member.deployment not in found:
            told = f"weighs nothing beside the others, as LiteLLM goes by {measure}, which the model's first entry has"
            notes.remark(member.at, f"{told}; so it only stands in for them when they fail")
    return found


def scaled(weights: Mapping[str, Decimal]) -> dict[str, Decimal]:
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


def _weight(member: Member, measure: str, notes: Notes) -> Decimal:
    given = member.setting(measure)
    if given is None:
        return Decimal(0)
    if given.number is None:
        notes.left_out(given, "it is not a number")
    return given.number or Decimal(0)


def _tell_weights_of_fallbacks(tier: Sequence[Member], chosen: Strategy, notes: Notes) -> None:
    several = len({member.deployment for member in tier}) > 1
    for member in tier:
        weight = member.setting("weight")
        if several and weight is not None and chosen.by_weight:
            notes.left_out(weight, "what is tried after a model's targets is tried in its order, and has no weights")
        _tell(member, None, chosen, notes)


def _tell(member: Member, measure: str | None, chosen: Strategy, notes: Notes) -> None:
    """
    Say what becomes of an entry's weight and limits.

    Args:
        measure: what the targets are weighed by; None where they weigh the same, or this entry is no target.
    """
    weight = member.setting("weight")
    if weight is not None and not chosen.by_weight:
        told = "LiteLLM weighs by it with simple-shuffle only, so the targets weigh the same"
        notes.left_out(weight, f"{told}; write targets: {{NAME: WEIGHT}} where it is to count")
    for key, limit in _LIMITS.items():
        given = member.setting(key)
        if given is None:
            continue
        instead = f"limit a model, over all of its deployments, with a policy: limits: [{{per: model, {limit}: …}}]"
        if chosen.limiting:
            told = f"a stack has no limits of deployments, and {key} is no weight with this strategy; what an upstream"
            more = "refuses goes to the model's others: write targets: {NAME: WEIGHT} by what each may get, or"
            notes.left_out(given, f"{told} {more} {instead}")
        elif key == measure:
            notes.remark(given, f"counts as a weight and limits nothing, as with LiteLLM's {chosen.name}; {instead}")
        else:
            notes.remark(given, f"neither weighs nor limits anything here; {instead}")
