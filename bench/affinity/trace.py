"""
Requests of a Mooncake trace (kvcache-ai/Mooncake, FAST '25): JSON lines with `timestamp` in ms, `input_length` and
`output_length` in tokens, and `hash_ids`, one for each 512 tokens of the prompt, that stands for all up to there.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.gateway.routing.prefix import ENDS, Prefix

BLOCK = 512  # tokens of one hash id
TOKEN_BYTES = 4  # of text that a token is taken to stand for


class _Line(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...]


class Request(msgspec.Struct, frozen=True):
    """
    Attributes:
        at_s: when it comes, from the beginning of the trace.
        read, made: tokens of the prompt and of the answer.
        blocks: the trace's hash ids.
        prefix: the same as the gateway would see it.
    """

    at_s: float
    read: int
    made: int
    blocks: tuple[int, ...]
    prefix: Prefix


def requests(path: Path) -> list[Request]:
    """Return the requests of a trace, in order."""
    decode = msgspec.json.Decoder(_Line).decode
    with path.open("rb") as lines:
        return [_request(decode(line)) for line in lines]


def _request(line: _Line) -> Request:
    return Request(
        at_s=line.timestamp / 1000,
        read=line.input_length,
        made=max(1, line.output_length),
        blocks=line.hash_ids,
        prefix=prefix_of(line.hash_ids, line.input_length * TOKEN_BYTES),
    )


def prefix_of(blocks: tuple[int, ...], size: int) -> Prefix:
    """
    Return hash ids as the gateway's chain of a prompt with so many bytes.

    The gateway's blocks end elsewhere than the trace's; each gets the id of the trace's block in which it ends, so that
    it is shared only where all of that is: never more than the trace says.
    """
    found, each = list[int](), BLOCK * TOKEN_BYTES
    for number, end in enumerate(ENDS):
        if end > size or (end - 1) // each >= len(blocks):
            break
        found.append(blocks[(end - 1) // each] * len(ENDS) + number)
    return Prefix(tuple(found), size)
