"""What a fuzz target is, and how an input's bytes are shared out between its knobs and what goes over the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

Check = Callable[[bytes], None]
"""Runs one input; raises `Finding` where a promise is broken. Any other exception is a finding too."""

KNOBS = 8  # bytes at the start of an input: one of flags, seven of sizes
FLOOD = 0xF8  # flags from here on: the end of the payload is repeated, to look for buffers and work without a bound
SLOW_S = 2.0  # CPU seconds after which one input counts as a hang; instrumented code on a busy machine takes 0.1


class Finding(AssertionError):
    """A promise does not hold for the input."""


@dataclass(frozen=True, slots=True)
class Target:
    """
    One thing that is fuzzed.

    Attributes:
        name: on the command line, and in the names of saved inputs.
        about: what it reads, in a few words.
        open: gives the check. The loop is for its use alone and closed by the caller.
        seeds: inputs to begin with.
        words: what inputs are made of, for the mutator.
    """

    name: str
    about: str
    open: Callable[[asyncio.AbstractEventLoop], Check]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...]


class Input(NamedTuple):
    """An input taken apart: how to run it, where to cut it, and what goes over the wire."""

    flags: int
    sizes: bytes
    payload: bytes

    @property
    def flood(self) -> bool:
        """Whether the end of the payload is to be repeated."""
        return self.flags >= FLOOD

    def pieces(self, largest: int = 1 << 20) -> Iterator[bytes]:
        """Cut the payload into pieces whose sizes are taken in turn; 0 means whatever is left."""
        yield from cut(self.payload, self.sizes, largest)

    def flooded(self, size: int) -> bytes:
        """The payload, its last bytes repeated until it is `size` long. How many: the last of the sizes."""
        if not self.payload:
            return b""
        tail = self.payload[-(self.sizes[-1] or 1) :]
        return (self.payload + tail * (size // len(tail)))[:size]


def cut(payload: bytes, sizes: bytes, largest: int = 1 << 20) -> Iterator[bytes]:
    """Cut bytes into pieces of the given sizes, in turn; 0 means whatever is left."""
    at = turn = 0
    while at < len(payload):
        size = min(sizes[turn % len(sizes)] or len(payload), largest)
        yield payload[at : at + size]
        at += size
        turn += 1


def take_apart(data: bytes) -> Input:
    """Read an input; missing knobs are 0."""
    knobs = data[:KNOBS].ljust(KNOBS, b"\0")
    return Input(knobs[0], knobs[1:], data[KNOBS:])


def seed(payload: bytes, flags: int = 0, sizes: tuple[int, ...] = (3, 1, 20, 2, 50, 7, 0)) -> bytes:
    """Put an input together."""
    return bytes([flags, *sizes]) + payload


def demand(holds: bool, promise: str, *facts: object) -> None:
    """Raise a finding unless the promise holds; the facts go into its message."""
    if not holds:
        raise Finding(f"{promise}: " + "; ".join(repr(fact)[:2000] for fact in facts))


def timed(work: Callable[[], object]) -> float:
    """How many seconds of CPU the work takes."""
    begin = time.thread_time()
    work()
    return time.thread_time() - begin


def linear(work: Callable[[int], object], size: int) -> None:
    """
    Demand that four times the input takes about four times as long, measured where it takes long enough to measure.

    Quadratic work takes sixteen times as long. A busy machine disturbs single measurements: the best of three counts.
    """
    large = timed(lambda: work(4 * size))
    demand(large < SLOW_S, "the work for one input is bounded", f"{large:.2f} s for {4 * size} bytes")
    if large < 0.05:
        return
    small = min(timed(lambda: work(size)) for _ in range(3))
    large = min(large, *(timed(lambda: work(4 * size)) for _ in range(2)))
    demand(large < 10 * small, "work grows with the input and not faster", f"{small:.3f} s, then {large:.3f} s")
