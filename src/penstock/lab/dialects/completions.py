"""OpenAI's text completions: `/v1/completions`."""

from __future__ import annotations

import msgspec

from penstock.lab.asked import Asked, AskedError, count_words
from penstock.lab.blocks import Block, Said
from penstock.lab.dialect import Dialect, Event
from penstock.lab.dialects.openai import (
    UNKNOWN,
    Chunks,
    StreamOptions,
    decoded,
    error_body,
    head,
    one_choice,
    usage_json,
)
from penstock.lab.orders import Order

_encode = msgspec.json.encode
_PREFIX = "cmpl-"
_KIND = b"text_completion"


class _Completion(msgspec.Struct):
    model: str
    prompt: str | list[str | int] = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None


_COMPLETION = msgspec.json.Decoder(_Completion)


def read(body: bytes) -> Asked:
    """Read a request, or raise `AskedError`."""
    return decoded(_COMPLETION, _understand, body)


def _understand(completion: _Completion) -> Asked:
    one_choice(completion.n)
    given = completion.prompt if isinstance(completion.prompt, list) else [completion.prompt]
    if all(isinstance(item, int) for item in given):  # one prompt as token numbers
        given = [" ".join(map(str, given))]
    if len(given) != 1:
        raise AskedError("the lab answers one prompt per request")
    prompt = str(given[0])
    return Asked(
        model=completion.model,
        text=prompt,
        prompt_tokens=count_words(prompt),
        stream=completion.stream is True,
        include_usage=completion.stream_options is not None and completion.stream_options.include_usage is True,
        max_tokens=completion.max_tokens,
    )


def whole(asked: Asked, order: Order, number: str, said: Said) -> bytes:
    """Return a whole text completion."""
    usage = usage_json(order, asked.prompt_tokens, said.tokens)
    tail = b"" if usage is None else b',"usage":' + usage
    start = head(asked, order, _PREFIX + number, _KIND)
    unknown = UNKNOWN if order.unknown_fields else b""
    choice = b'{"index":0,%b"text":%b,"logprobs":null,"finish_reason":"%b"}'
    text = _encode(said.text_of("text") or "")
    return b'%b"choices":[%b]%b}' % (start, choice % (unknown, text, said.reason.encode()), tail)


class Stream(Chunks):
    """The chunks of one text."""

    def __init__(self, asked: Asked, order: Order, number: str) -> None:
        super().__init__(asked, order, head(asked, order, _PREFIX + number, _KIND), b"text", b'""')

    def open(self) -> tuple[Event, ...]:
        """A text begins with its first words."""
        return ()

    def begin(self, _block: Block) -> tuple[Event, ...]:
        """There is but one block."""
        return ()

    def delta(self, piece: str, tokens: int) -> Event:
        """A chunk with content."""
        return self.counted(_encode(piece), tokens)


DIALECT = Dialect(read=read, whole=whole, error=error_body, stream=Stream, says="text", ready=_PREFIX)
