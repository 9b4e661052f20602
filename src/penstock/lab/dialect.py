"""
The seam between the lab and the APIs that it speaks: what a dialect must know.

A dialect is one module in `penstock.lab.dialects` and one line in the mapping there. What is said, and when and how it
leaves, is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec

from penstock.lab.asked import Asked
from penstock.lab.blocks import Block, Reason, Said
from penstock.lab.orders import Order


class Event(NamedTuple):
    """One event of a stream: its data, and its name if it has one."""

    json: bytes
    name: bytes | None = None


class Fault(NamedTuple):
    """An error to be worded; what is None follows from the status."""

    message: str
    status: int
    type: str | None = None
    code: str | None = None
    param: str | None = None


class Stream(Protocol):
    """
    Words the events of one stream. Made for one answer and called in the order of these methods, the middle three for
    each block. `tokens` are the words that have been said so far.
    """

    def open(self) -> Iterable[Event]:
        """The events before the first block."""

    def begin(self, block: Block) -> Iterable[Event]:
        """The content-free events before a block's pieces."""

    def delta(self, piece: str, tokens: int) -> Event:
        """The content event with a piece of the block that has begun."""

    def end(self, block: Block) -> Iterable[Event]:
        """The events after a block's pieces."""

    def close(self, reason: Reason, tokens: int) -> Iterable[Event]:
        """The events at the end of a good answer."""

    def fail(self, fault: Fault) -> Event:
        """The event that ends a bad one."""


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """
    One API. Has no state; shared by all requests.

    Attributes:
        read: reads a request's body, or raises `AskedError`.
        whole: words a plain answer; the text is the number that ids are made of.
        error: words the body of an error, likewise.
        stream: begins a stream; None if there are none.
        says: what an answer may hold besides; orders about the rest mean nothing.
        check: raises an `ExchangeError` when the headers are not those of a request.
        key_header: where a key may come instead of as a bearer token.
        number_header: the answer's header with the number.
        ping: what fills the waits of a stream.
        ready: what an answer's id begins with, where the body begins with `{"id":` and names the number nowhere else:
            such answers are kept ready-made. None: they are not.
    """

    read: Callable[[bytes], Asked]
    whole: Callable[[Asked, Order, str, Said], bytes]
    error: Callable[[Fault, str], bytes]
    stream: Callable[[Asked, Order, str], Stream] | None = None
    says: Literal["nothing", "text", "all"] = "all"
    check: Callable[[Mapping[bytes, bytes]], None] | None = None
    key_header: bytes | None = None
    number_header: bytes = b"x-request-id"
    ping: bytes = b": ping\n\n"
    ready: str | None = None


def ordered_fault(order: Order, status: int) -> Fault:
    """Return the error that an order asks for."""
    return Fault(order.error, status, order.error_type, order.error_code)
