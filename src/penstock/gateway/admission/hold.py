"""What one exchange holds of its limits."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.counters.counter import KEPT_S
from penstock.counters.leases import Lease, Leases
from penstock.gateway.admission.rules import Rules
from penstock.gateway.dialects.errors import counters_line, ratelimit_tail
from penstock.snapshot.config import Outage
from penstock.types.usage import Usage

_REQUESTS, _TOKENS = (ratelimit_tail(kind, KEPT_S) for kind in ("requests", "tokens"))


class Hold:
    """
    Made by `Admission.admit`; released once, when the usage is known, before the last byte of the answer.

    Args:
        leases, amounts, slots: what was taken, for each limit of `rules`.
        outage: what was done instead of asking, if nobody could be asked.
    """

    __slots__ = ("_amounts", "_leases", "_owner", "_rules", "_slots", "outage")

    def __init__(
        self,
        owner: Leases,
        rules: Rules,
        leases: Sequence[Lease],
        amounts: Sequence[int],
        slots: Sequence[int],
        outage: Outage | None = None,
    ) -> None:
        self._owner = owner
        self._rules = rules
        self._leases = leases
        self._amounts = amounts
        self._slots = slots
        self.outage = outage

    @property
    def explained(self) -> tuple[str, str]:
        """For the explanation of the exchange."""
        if self.outage is None:
            return self._rules.explained
        return "admission", f"the counters are away: {self.outage.value}"

    def release(self, usage: Usage) -> None:
        """Give back the exchange's places, and the tokens that it did not use."""
        rules, leases = self._rules, self._leases
        back = [(leases[position], 1, 0) for position in rules.places]
        if rules.tokens:
            amounts, slots, used = self._amounts, self._slots, usage.input_tokens + usage.output_tokens
            back += [(leases[n], amounts[n] - used, slots[n]) for n, _ in rules.tokens]
        if back:
            self._owner.release(back)

    def lines(self) -> bytes:
        """Return header lines: what is left of the requests and of the tokens, of the limit nearest to its end."""
        lines = b""
        if self._rules.requests:
            lines = self._nearest(self._rules.requests) + _REQUESTS
        if self._rules.tokens:
            lines += self._nearest(self._rules.tokens) + _TOKENS
        return lines if self.outage is None else lines + counters_line(self.outage)

    def _nearest(self, told: Sequence[tuple[int, bytes]]) -> bytes:
        least, line = -1, b""
        for position, head in told:
            lease = self._leases[position]
            left = lease.remaining + lease.free
            if left < least or least < 0:
                least, line = left, head
        return b"%b%d" % (line, least)
