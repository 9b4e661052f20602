"""The limits of a model, prepared so that an exchange only looks its counters up."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from penstock.counters.counter import Counter, Kind, Refusal
from penstock.counters.leases import Lease
from penstock.gateway.dialects import ratelimits
from penstock.gateway.dialects.call import Call
from penstock.gateway.identity.caller import Caller
from penstock.snapshot.config import Limit, Measure, Outage
from penstock.types.errors import LimitReached, TokenLimitReached

_KINDS = {Measure.REQUESTS: Kind.RATE, Measure.TOKENS: Kind.RATE, Measure.CONCURRENCY: Kind.LEVEL}
_UNITS = {
    Measure.REQUESTS: "requests per minute",
    Measure.TOKENS: "tokens per minute",
    Measure.CONCURRENCY: "requests at the same time",
}
_NETWORK = 64  # bits of an IPv6 address that tell one site from another; what is below, a client chooses itself


class Rules:
    """
    The limits of one model. Made once per view, compared by identity.

    Attributes:
        limits: in the order of the counters of `leases`.
        requests, tokens, places: which of `leases` is for the limits of that measure; None where there are none.
        heads, anthropic_heads: of each lease, for each of its limits: the beginning of header lines that tell of it.
        by_address: some count by the client's address.
        shared: those to be divided among workers while nobody can be asked.
        explained: for the explanation of an exchange that they let through.
    """

    __slots__ = (
        "_measured",
        "_ones",
        "anthropic_heads",
        "by_address",
        "explained",
        "heads",
        "limits",
        "model",
        "places",
        "requests",
        "shared",
        "tokens",
    )

    def __init__(self, model: str, limits: Sequence[Limit]) -> None:
        self.model = model
        measured = [[limit for limit in limits if limit.measure is measure] for measure in Measure]
        self._measured = [group for group in measured if group]
        self.limits = tuple(limit for group in self._measured for limit in group)
        place = {group[0].measure: index for index, group in enumerate(self._measured)}
        self.requests = place.get(Measure.REQUESTS)
        self.tokens = place.get(Measure.TOKENS)
        self.places = place.get(Measure.CONCURRENCY)
        self.heads, self.anthropic_heads = (
            [[head(limit.measure, limit.most) for limit in group] for group in self._measured]
            for head in (ratelimits.head, ratelimits.anthropic_head)
        )
        self.by_address = any("address" in limit.per for limit in limits)
        divided = [limit for limit in limits if limit.on_outage is Outage.LOCAL_SHARE]
        self.shared: Rules = self if len(divided) == len(limits) else Rules(model, divided)
        self._ones = [1] * len(self._measured)
        policies = dict.fromkeys(limit.policy for limit in limits)
        noun = "limit" if len(limits) == 1 else "limits"
        self.explained = ("admission", f"within {len(limits)} {noun} of {', '.join(policies)}")

    def amounts(self, call: Call) -> list[int]:
        """
        Return what an exchange needs of each lease.

        One that may need more tokens than there ever are takes them all: what it really used is counted afterwards.
        """
        amounts = self._ones
        if self.tokens is not None:
            amounts = amounts.copy()
            amounts[self.tokens] = call.most_input + call.most_output
        return amounts

    def leases(self, caller: Caller, address: str, parts: int = 1) -> tuple[Lease, ...]:
        """
        Return new leases, with nothing in them, for what the limits of each measure count of this caller.

        Args:
            parts: among which each limit is divided, rounded down, but nobody gets nothing.
        """
        subjects = {
            "key": caller.key,
            "user": caller.user,
            "tenant": caller.tenant,
            "model": self.model,
            "address": _site(address) if self.by_address else "",
        }
        return tuple(
            Lease(
                *(
                    Counter(_name(limit, subjects), _KINDS[limit.measure], max(1, limit.most // parts))
                    for limit in group
                )
            )
            for group in self._measured
        )


def described(limit: Limit) -> str:
    """Say what a limit is: `600 requests per minute for this key (policy default)`."""
    whom = " and ".join(f"this {subject}" for subject in limit.per)
    return f"{limit.most} {_UNITS[limit.measure]} for {whom} (policy {limit.policy})"


def reached(limit: Limit, refusal: Refusal) -> LimitReached:
    """Return the error of an exchange that a limit has no room for."""
    kind = TokenLimitReached if limit.measure is Measure.TOKENS else LimitReached
    return kind(
        f"The limit of {described(limit)} is reached.",
        limit=None if limit.measure is Measure.CONCURRENCY else limit.most,
        remaining=refusal.remaining,
        retry_after=refusal.after_s,
    )


def _name(limit: Limit, subjects: dict[str, str]) -> str:
    """Name a counter; none of the parts can hold the separators."""
    whom = " ".join(subjects[subject] for subject in limit.per)
    return f"{limit.policy} {limit.measure} {'+'.join(limit.per)} {whom}"


def _site(address: str) -> str:
    """Return what counts as one client: an IPv4 address, or the network of an IPv6 address."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], _NETWORK), strict=False))
