"""
A prompt as a chain of hashes, each of which stands for all that comes before it.

Two prompts have a hash in common exactly as far as they begin alike. An engine caches by tokens, which the gateway does
not know; it goes by the bytes of the prompt's JSON, in the order in which chat templates put them: first what is the
same for many exchanges, tools and system prompt, then the conversation.

Blocks grow with their distance from the beginning, so that there are few: of 128 bytes up to 2 KiB, then eight for each
doubling. What two prompts share is so known to an eighth of its length.
"""

from __future__ import annotations

from collections.abc import Iterable
from zlib import crc32

import msgspec

from penstock.gateway.dialects.call import Call
from penstock.types.dialect import Dialect

_FIRST = 128
_MOST_BYTES = 64 * 1024 * 1024  # where the last block ends; no prompt is longer than a body may be

_ORDER = {
    Dialect.CHAT: ("cache_salt", "tools", "functions", "messages"),
    Dialect.COMPLETIONS: ("cache_salt", "prompt"),
    Dialect.EMBEDDINGS: (),  # which leave nothing behind that another could use
    Dialect.RESPONSES: ("cache_salt", "tools", "instructions", "input"),
    Dialect.MESSAGES: ("cache_salt", "tools", "system", "messages"),
}
"""Fields in the order in which engines read them. A salt separates caches, in vLLM, so it comes before all else."""


def _ends() -> tuple[int, ...]:
    found, end = list[int](), 0
    while end < _MOST_BYTES:
        end += max(_FIRST, 1 << end.bit_length() >> 4)
        found.append(end)
    return tuple(found)


ENDS = _ends()
"""Where blocks end, in bytes; a prompt has those that it fills."""


class Prefix(msgspec.Struct, frozen=True):
    """
    Attributes:
        blocks: a hash for each of the first `ENDS` that the prompt fills, of everything up to there.
        size: bytes of the whole prompt.
    """

    blocks: tuple[int, ...]
    size: int


def prefix_of(call: Call) -> Prefix:
    """Return a call's prompt as a chain of hashes."""
    fields = call.document.fields
    return chain(fields[name] for name in _ORDER[call.dialect] if name in fields)


def chain(pieces: Iterable[bytes | msgspec.Raw]) -> Prefix:
    """
    Return the chain of a prompt that comes in pieces.

    The hash is CRC-32, for its speed and since it carries on from one block to the next. That two prompts collide, be
    it by intent, sends an exchange to a replica that has not its prefix, and nothing else.
    """
    blocks, size, crc, end = list[int](), 0, 0, ENDS[0]
    for piece in pieces:
        view, start = memoryview(piece), 0
        most = size + len(view)
        while end <= most:
            crc = crc32(view[start : start + end - size], crc)
            start, size = start + end - size, end
            blocks.append(crc)
            if len(blocks) == len(ENDS):
                return Prefix(tuple(blocks), size)
            end = ENDS[len(blocks)]
        crc, size = crc32(view[start:], crc), most
    return Prefix(tuple(blocks), size)
