"""
Orders: what one answer of the lab upstream is to do wrong.

An `Order` is made in Python, or read from text by `penstock.lab.grammar`. It holds seconds and bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from penstock.types.errors import PenstockError


class OrderError(PenstockError):
    """An order or a script cannot be read; the message names the culprit and what was probably meant."""


DURATION = "duration"
SIZE = "size"
_DAY = 24 * 3600
_MAX_SIZE = 256 * 1024 * 1024
_MAX_EVENTS = 100_000_000
MAX_WHOLE_EVENTS = 100_000  # with a content-length

Seconds = Annotated[float, Meta(ge=0, le=_DAY, extra={"unit": DURATION})]
Size = Annotated[int, Meta(ge=0, le=_MAX_SIZE, extra={"unit": SIZE})]
PieceSize = Annotated[int, Meta(ge=1, le=_MAX_SIZE, extra={"unit": SIZE})]
Count = Annotated[int, Meta(ge=0, le=_MAX_EVENTS)]
Positive = Annotated[int, Meta(ge=1, le=_MAX_EVENTS)]

Calls = Annotated[int, Meta(ge=0, le=1000)]

Stall = Literal["before_head", "in_head", "after_head", "after_events", "in_event"]
Where = Literal["before_head", "in_head", "after_head", "after_events", "in_event", "in_character"]
Body = Literal["answer", "error", "html", "garbage", "empty"]
Usage = Literal["normal", "missing", "null", "negative", "huge", "text"]
UsageOn = Literal["own", "finish", "every", "null_choices"]
Framing = Literal["chunked", "length", "close"]
Broken = Literal[
    "status_line",
    "header",
    "two_lengths",
    "length_and_chunked",
    "chunk_size",
    "chunk_end",
    "last_chunk",
    "short_body",
    "long_body",
    "event",
    "utf8",
]


class Place(msgspec.Struct, frozen=True):
    """
    A point in an answer: `where`, after `events` whole content events. A plain answer's body is one event.

    `after_events` 0 is before the first content event, when the content-free ones have gone out.
    """

    where: Where
    events: int


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """
    What one answer does differently. The default order is a good answer at once. `docs/lab.md` has an example of each.

    Durations are seconds, sizes bytes. "Content event" is a stream event that carries text, thought
    or arguments of a tool call.
    """

    # When
    delay: Seconds = 0.0  # before the head
    delay_first: Seconds = 0.0  # between the head and the first content event (or a plain answer's body)
    delay_between: Seconds = 0.0  # between content events
    stall: Stall | None = None  # where to fall silent
    stall_after: Count | None = None  # content events before the silence
    stall_for: Seconds | None = None  # how long; None is until the client leaves
    ping_every: Seconds = 0.0  # `: ping` comments in every wait of a stream after its head; 0 is none

    # What
    events: Count | None = None  # content events; None is as many as the text has words
    tokens_per_event: Positive = 1  # words in one content event
    size: Size | None = None  # bytes of text in the answer
    content: str | None = None  # the text, instead of an echo
    model: str | None = None  # the model name in the answer, instead of the one asked for
    thinking: Count = 0  # words of reasoning before the answer
    tool_calls: Calls = 0  # parallel calls of the request's tools, instead of text unless `content` is given
    role_events: Count = 1  # content-free events at the start of a stream
    usage: Usage = "normal"
    usage_on: UsageOn = "own"  # which events of a stream carry the usage
    usage_always: bool = False  # in streams also when `include_usage` was not asked for
    prompt_tokens: Annotated[int, Meta(ge=0)] | None = None
    completion_tokens: Annotated[int, Meta(ge=0)] | None = None
    cached_tokens: Annotated[int, Meta(ge=0)] = 0
    cache_write_tokens: Annotated[int, Meta(ge=0)] = 0
    unknown_fields: bool = False  # fields that no client knows, at every level
    unknown_events: bool = False  # an `event: lab.unknown` before every content event
    error_after: Count | None = None  # an error event after so many content events, and then the end
    done: bool = True  # the last event, which only says that it is the last

    # Status and head
    status: Annotated[int, Meta(ge=200, le=599)] = 200
    body: Body | None = None  # None: an answer with a 2xx status, an error with any other
    raw: str | None = None  # exactly this body, whatever was asked for
    content_type: str | None = None  # instead of the one that goes with the body
    error: str = "ordered by the lab"  # the message of error bodies and events
    error_type: str | None = None
    error_code: str | None = None
    retry_after: str | None = None  # this header's value, sent as it is
    headers: dict[str, str] = {}
    big_headers: Size = 0  # bytes of padding in headers
    informational: tuple[Annotated[int, Meta(ge=100, le=199)], ...] = ()  # 1xx heads before the real one
    gzip: bool = False  # content-encoding: gzip, uninvited

    # Server-sent events
    newline: Literal["lf", "crlf", "cr"] = "lf"
    comments: Count = 0  # `: lab` comments before every event
    multiline: bool = False  # the JSON of an event over several `data:` lines
    spaceless: bool = False  # `data:{` instead of `data: {`
    last_blank: bool = True  # the blank line after the last event

    # Bytes on the wire
    framing: Framing | None = None  # None: chunked for streams, a length otherwise
    broken: Broken | None = None
    broken_after: Count = 0  # content events before the fault, where it lies in the body
    cut: Where | None = None  # where to break the connection
    cut_after: Count | None = None  # content events before it
    cut_with: Literal["fin", "rst"] = "fin"
    events_per_write: Positive = 1  # events that leave in one chunk
    chunk_size: PieceSize | None = None  # bytes of body in each chunk, across events
    split_at: tuple[Positive, ...] = ()  # offsets in the body where a new chunk starts, across events
    write_size: PieceSize | None = None  # bytes in each write to the socket, head included
    write_pause: Seconds = 0.0  # between those writes
    rate: PieceSize | None = None  # bytes per second, head included
    close: bool = False  # `connection: close`, and close after the answer
    close_idle: Seconds | None = None  # close the connection, unannounced, so long after the answer

    # Reading
    read: Literal["all", "never"] = "all"  # whether to read the request's body before answering
    read_rate: PieceSize | None = None  # bytes per second

    def __post_init__(self) -> None:
        for name in ("cut", "stall"):
            where, after = getattr(self, name), getattr(self, f"{name}_after")
            if after is not None and where in {"before_head", "in_head", "after_head"}:
                raise ValueError(f"`{name}_after` counts events; it means nothing with `{name}={where}`")
        if self.framing == "length" and (self.events or 0) > MAX_WHOLE_EVENTS:
            raise ValueError(f"`framing=length` makes the answer whole first; `events` may be {MAX_WHOLE_EVENTS} then")
        if self.stall_for is not None and self.stall_place is None:
            raise ValueError("`stall_for` needs `stall` or `stall_after`")
        if self.gzip and (self.broken in {"event", "utf8"} or self.cut == "in_character"):
            raise ValueError("`gzip` would hide a fault inside an event")
        if self.multiline and self.broken == "event":
            raise ValueError("`multiline` cannot lay out the JSON that `broken=event` cuts")

    @property
    def cut_place(self) -> Place | None:
        """Where the connection breaks, if it does."""
        return _place(self.cut, self.cut_after)

    @property
    def stall_place(self) -> Place | None:
        """Where the answer falls silent, if it does."""
        return _place(self.stall, self.stall_after)


DEFAULT = Order()


def _place(where: Where | None, after: int | None) -> Place | None:
    if where is None and after is None:
        return None
    return Place(where or "after_events", after or 0)
