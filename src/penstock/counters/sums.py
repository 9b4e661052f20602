"""Control's end of the sums in Redis: where they begin, and what is new in the ledger."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Self

import msgspec

from penstock.counters.redis import PREFIX, Command, Connection
from penstock.pricing.period import DAY_S

_PATIENCE_S = 5.0
_AT_ONCE = 1000
_IN_ONE_STEP = 5000  # sums, as nobody else is served meanwhile
_WRITERS = f"{PREFIX}:writers"
_AWAITED = f"{PREFIX}:awaited"
_FOLDED = f"{PREFIX}:folded:"
_BUDGET = "budget "
_END = 2**53  # behind the end of every segment
_encode = msgspec.msgpack.Encoder().encode

Amount = tuple[str, int, int]
"""Name of a sum, nano-dollars, and the second since the epoch at which it ends; 0 for never."""


class Sums:
    """
    One connection, for one control. Made by `open`, and made anew after any of `redis.GONE`.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._open = f"{PREFIX}:open"

    @classmethod
    async def open(cls, url: str) -> Self:
        """
        Connect.

        Raises:
            redis.GONE: it cannot be reached.
        """
        return cls(await Connection.open(url, _PATIENCE_S))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def budgets(self) -> dict[str, int] | None:
        """Return the budgets whose sums are known, with the days they begin; None after a start of Redis."""
        known = await self._all(self._open)
        if known.pop("run", "") != self._connection.run:
            return None
        return {name.removeprefix(_BUDGET): int(day) for name, day in known.items()}

    async def replace(
        self,
        budgets: Mapping[str, int],
        spent: Sequence[Amount],
        positions: Mapping[str, Mapping[str, int]],
        awaited: Iterable[str],
    ) -> None:
        """
        Say what has been spent, all that is known of it: in one step, or, where it is much, nobody knows it meanwhile.

        Args:
            budgets: with the first days of their periods, days since the epoch.
            spent: sums that are not 0.
            positions: by writer, how far each segment is in these sums.
            awaited: writers that have to say what they hold, unless they have since Redis began, before anybody can
                tell what is left.
        """
        if len(spent) > _IN_ONE_STEP:
            await self._connection.ask(("DEL", self._open))
            await self._set(spent)
            spent = ()
        changes = list(_changes(spent))
        for writer, offsets in positions.items():
            changes += [("SADD", _WRITERS, writer), ("DEL", f"{_FOLDED}{writer}")]
            if offsets:
                changes.append(("HSET", f"{_FOLDED}{writer}", *_pairs(offsets)))
        changes += [("DEL", _AWAITED), *(("SADD", _AWAITED, writer) for writer in awaited)]
        changes.append(("SDIFFSTORE", _AWAITED, _AWAITED, f"{PREFIX}:told"))
        changes.append(("DEL", self._open))
        changes.append(("HSET", self._open, "run", self._connection.run, *_pairs(budgets, _BUDGET)))
        await self._connection.change(changes)

    async def add(self, budgets: Mapping[str, int], spent: Sequence[Amount]) -> None:
        """Say what has been spent of further budgets, as of the positions that are known."""
        await self._set(spent)
        if budgets:
            await self._connection.ask(("HSET", self._open, *_pairs(budgets, _BUDGET)))

    async def _set(self, spent: Sequence[Amount]) -> None:
        for start in range(0, len(spent), _AT_ONCE):
            await self._connection.ask(*_changes(spent[start : start + _AT_ONCE]))

    async def remove(self, budgets: Iterable[str]) -> None:
        """Say that nobody follows these budgets any more."""
        for name in budgets:
            await self._connection.ask(("HDEL", self._open, _BUDGET + name))

    async def post(self, writer: str, segment: str, start: int, end: int, amounts: Iterable[Amount]) -> bool:
        """
        Add what is new in the ledger. False when it is not known what it is to be added to: `replace` says.

        Args:
            start, end: between which positions of the segment it is from.
        """
        message = _encode((self._connection.run, writer, segment, start, end, list(amounts)))
        (known,) = await self._connection.ask(self._connection.script("post", message))
        return bool(known)

    async def finish(self, writer: str, segment: str, end: int) -> bool:
        """Say that a segment is in the ledger to its end; False as for `post`."""
        return await self.post(writer, segment, end, _END, ())

    async def writers(self) -> set[str]:
        """Return the workers that hold sums, or did."""
        (writers,) = await self._connection.ask(("SMEMBERS", _WRITERS))
        return {writer.decode() for writer in writers}

    async def excuse(self, writers: Collection[str]) -> None:
        """Wait for these writers no longer; they may still say what they hold."""
        if writers:
            await self._connection.ask(("SREM", _AWAITED, *writers))

    async def _all(self, key: str) -> dict[str, str]:
        """Return a hash."""
        (found,) = await self._connection.ask(("HGETALL", key))
        kept = [part.decode() for part in found]
        return dict(zip(kept[::2], kept[1::2], strict=True))

    async def free(self, writer: str, silent_s: float) -> bool:
        """Free what a worker holds that is silent for so long. False when it is not."""
        (done,) = await self._connection.ask(self._connection.script("free", writer, int(silent_s * 1e6)))
        return bool(done)


def _changes(spent: Iterable[Amount]) -> Iterator[Command]:
    for name, amount, ends in spent:
        yield "HSET", f"{PREFIX}:s:{name}", "spent", amount
        if ends:
            yield "EXPIREAT", f"{PREFIX}:s:{name}", ends + DAY_S


def _pairs(values: Mapping[str, int], prefix: str = "") -> list[str | int]:
    """Return names and values by turns, as Redis takes them."""
    return [part for name, value in values.items() for part in (prefix + name, value)]
