"""What one worker holds of levels and of sums that are counted elsewhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from penstock.counters.counter import Counter, Kind, Return

_MOST = 1000
"""Positions that are kept apart; while the ledger stands still for longer, what was spent earlier is kept together."""

Position = tuple[str, int]
"""Where a journal is: its segment, by a name that sorts behind those before it, and the offset in it."""


class Held:
    """
    What is held now, so that a store that has lost its memory can be told, and what of it is spent.

    What is spent stays held until the ledger has it: it is kept with the position of the journal behind its record.
    """

    def __init__(self) -> None:
        self.amounts: dict[Counter, int] = {}  # none of them 0
        self._spent: dict[Counter, int] = {}  # since the last `mark`
        self._marked: deque[tuple[Position, dict[Counter, int]]] = deque()

    def take(self, counter: Counter, amount: int) -> None:
        """Hold more, or less where it is negative; never less than nothing."""
        if counter.kind is Kind.RATE:
            return
        left = self.amounts.get(counter, 0) + amount
        if left > 0:
            self.amounts[counter] = left
        else:
            self.amounts.pop(counter, None)

    def spend(self, counter: Counter, amount: int) -> None:
        """Use up what is held; its record is about to be written."""
        if amount:
            self._spent[counter] = self._spent.get(counter, 0) + amount

    def mark(self, position: Position) -> None:
        """Say where the journal is, now that what was spent is recorded in it."""
        if not self._spent:
            return
        self._marked.append((position, self._spent))
        self._spent = {}
        if len(self._marked) > _MOST:
            _, first = self._marked.popleft()
            second = self._marked[0][1]
            for counter, amount in first.items():
                second[counter] = second.get(counter, 0) + amount

    @property
    def waiting(self) -> bool:
        """Whether there is anything that the ledger does not have yet."""
        return bool(self._marked)

    def folded(self, positions: Mapping[str, int]) -> list[Return]:
        """
        Return what is in the ledger, and so not to be held any more.

        Args:
            positions: how far each segment is in the ledger. One that is missing is there whole if a later one is
                named, as they are folded in order; else nothing of it is.
        """
        done: dict[Counter, int] = {}
        latest = max(positions, default="")
        while self._marked:
            (segment, offset), amounts = self._marked[0]
            if positions.get(segment, -1) < offset and not (segment not in positions and segment < latest):
                break
            self._marked.popleft()
            for counter, amount in amounts.items():
                done[counter] = done.get(counter, 0) + amount
        return [Return(counter, amount, 0) for counter, amount in done.items()]
