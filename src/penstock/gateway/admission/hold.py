"""What one exchange holds of its limits."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.counters.counter import KEPT_S
from penstock.counters.leases import Lease, Leases
from penstock.gateway.admission.rules import Rules
from penstock.gateway.dialects import ratelimits
from penstock.snapshot.config import Outage
from penstock.types.usage import Usage

_REQUESTS, _TOKENS = (ratelimits.tail(kind, KEPT_S) for kind in ("requests", "tokens"))


class Hold(msgspec.Struct):
    """
    Made by `Admission.admit`; released once, when the usage is known, before the last byte of the answer.

    Attributes:
        owner: of the leases.
        amounts: what was taken of each lease.
        slot: in which the tokens were taken.
        outage: what was done instead of asking, if nobody could be asked.
    """

    owner: Leases
    rules: Rules
    leases: Sequence[Lease]
    amounts: Sequence[int]
    slot: int
    outage: Outage | None = None

    @property
    def explained(self) -> tuple[str, str]:
        """For the explanation of the exchange."""
        if self.outage is None:
            return self.rules.explained
        return "admission", f"the counters are away: {self.outage.value}"

    def release(self, usage: Usage) -> None:
        """Give back the exchange's places, and the tokens that it did not use."""
        rules, leases = self.rules, self.leases
        if (n := rules.places) is not None:
            self.owner.release(leases[n], 1)
        if (n := rules.tokens) is not None:
            self.owner.release(leases[n], self.amounts[n], usage.input_tokens + usage.output_tokens, self.slot)

    def lines(self, like_anthropic_at: float | None = None) -> bytes:
        """
        Return header lines: what is left of the requests and of the tokens, of the limit nearest to its end.

        Args:
            like_anthropic_at: seconds since the epoch, where Anthropic's words are wanted as well.
        """
        rules, leases, lines = self.rules, self.leases, b""
        if (n := rules.requests) is not None:
            lease = leases[n]
            lines = b"%b%d%b" % (rules.heads[n][lease.nearest], lease.remaining + lease.free, _REQUESTS)
        if (n := rules.tokens) is not None:
            lease = leases[n]
            lines += b"%b%d%b" % (rules.heads[n][lease.nearest], lease.remaining + lease.free, _TOKENS)
        return lines if like_anthropic_at is None else lines + self._anthropic_lines(like_anthropic_at)

    def _anthropic_lines(self, now: float) -> bytes:
        rules, leases, lines = self.rules, self.leases, b""
        for kind, n in (("requests", rules.requests), ("tokens", rules.tokens)):
            if n is not None:
                lease, tail = leases[n], ratelimits.anthropic_tail(kind, now + KEPT_S)
                lines += b"%b%d%b" % (rules.anthropic_heads[n][lease.nearest], lease.remaining + lease.free, tail)
        return lines
