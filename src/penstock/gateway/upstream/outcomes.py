"""How the attempts at a deployment, or at one of its replicas, have ended lately."""

from __future__ import annotations

# Of the outcomes lately; half a second of them. At a thousand a second five failures in a row come by chance.
_PART_OF_LATELY = 20
_BUCKETS = 10  # of a second each make up "lately"
_BUCKET_S = 1.0


class Outcomes:
    """
    The outcomes of the last ten seconds, and the failures since the last success. For one thread.

    Attributes:
        row: failures since the last success.
    """

    __slots__ = ("_at", "_bad", "_good", "row")

    def __init__(self) -> None:
        self._at = 0  # the second that the newest bucket is of
        self.forget()

    def forget(self) -> None:
        """Begin anew: what was before says nothing any more."""
        self.row = 0
        self._good = [0] * _BUCKETS
        self._bad = [0] * _BUCKETS

    def succeeded(self, now: float) -> None:
        """Take note of a good end."""
        self.row = 0
        self._good[self._at % _BUCKETS if int(now / _BUCKET_S) == self._at else self._bucket(now)] += 1

    def failed(self, now: float) -> tuple[int, int]:
        """Take note of a failure; return how many there were lately, and how many outcomes in all."""
        self.row += 1
        self._bad[self._bucket(now)] += 1
        bad = sum(self._bad)
        return bad, bad + sum(self._good)

    def too_many(self, least: int, most: int, seen: int) -> bool:
        """
        Tell whether more failures follow one another than happen to, with so much traffic.

        Args:
            least: how many it takes where there is no traffic to speak of; with more, half a second's outcomes more.
            most: how many it takes at the most.
            seen: outcomes lately, from `failed`.
        """
        return self.row >= min(least + seen // _PART_OF_LATELY, most)

    def _bucket(self, now: float) -> int:
        """Return the bucket of this second, having emptied those of seconds that nothing happened in."""
        second = int(now / _BUCKET_S)
        for passed in range(max(self._at + 1, second - _BUCKETS + 1), second + 1):
            self._good[passed % _BUCKETS] = self._bad[passed % _BUCKETS] = 0
        self._at = max(self._at, second)
        return self._at % _BUCKETS
