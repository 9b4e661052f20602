"""What a replica has been given to read lately, as far as this process has sent it."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from penstock.gateway.routing.prefix import ENDS, Prefix

_MOST_BLOCKS = 16_384  # some 3 MB; the beginnings of 300 prompts of 60 KB, or of 1,000 of 2 KB
UNKNOWN = 1 << 60  # bytes; no bound
_SIZES = tuple(end - begin for begin, end in pairwise((0, *ENDS)))


class Prompts:
    """
    The beginnings of prompts that a replica has read, the latest ones: an approximation of what its cache still has.

    Belongs to one replica's endpoint and ends with it. Blocks are forgotten least lately used first, and of one prompt
    from its end; so whatever is known is known from its beginning.

    Attributes:
        most_bytes: that are remembered; as many as the replica's cache holds, where that is known.
        reading: bytes of prompts that the replica has yet to read: sent, not known before, and no answer has begun.
    """

    __slots__ = ("_blocks", "_bytes", "_most", "most_bytes", "reading")

    def __init__(self, most: int = _MOST_BLOCKS) -> None:
        self._blocks: OrderedDict[int, int] = OrderedDict()  # to the bytes of each
        self._most = most
        self._bytes = 0
        self.most_bytes = UNKNOWN
        self.reading = 0

    def __len__(self) -> int:
        """Blocks that are remembered."""
        return len(self._blocks)

    def known(self, prefix: Prefix) -> int:
        """Return how many of a prompt's first blocks have been read."""
        # What is known is known from its beginning, so that it can be searched for by halves.
        known, blocks = self._blocks, prefix.blocks
        if not blocks or blocks[0] not in known:
            return 0
        low, high = 1, len(blocks)
        while low < high:
            middle = (low + high + 1) // 2
            if blocks[middle - 1] in known:
                low = middle
            else:
                high = middle - 1
        return low

    def add(self, prefix: Prefix) -> int:
        """Note that the replica is given a prompt; returns the bytes of it that were not known."""
        new = missing(prefix, self.known(prefix))
        blocks = self._blocks
        for number in range(len(prefix.blocks) - 1, -1, -1):
            block = prefix.blocks[number]
            if block in blocks:
                blocks.move_to_end(block)
            else:
                blocks[block] = size = _SIZES[number]
                self._bytes += size
        while blocks and (len(blocks) > self._most or self._bytes > self.most_bytes):
            self._bytes -= blocks.popitem(last=False)[1]
        return new


def missing(prefix: Prefix, known: int) -> int:
    """Return how many bytes of a prompt follow its first `known` blocks."""
    return prefix.size - (ENDS[known - 1] if known else 0)
