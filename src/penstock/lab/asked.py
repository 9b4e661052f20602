"""What a request asks for, read from its body: only what the lab acts on, the rest is ignored."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["chat", "completion", "embedding"]

KINDS: dict[str, Kind] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completion",
    "/v1/embeddings": "embedding",
}

_MAX_ECHO = 4096
_COUNTED_WHOLE = 1024 * 1024


class AskedError(ValueError):
    """The body is not a request; the text says why."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """
    Attributes:
        text: the last user message or the prompt.
        prompt_tokens: words in all messages, or in all inputs.
        max_tokens: the cap on the answer's words, or None.
        inputs: the texts to embed.
        base64: embeddings as base64 instead of numbers.
    """

    kind: Kind
    model: str = "unknown"
    text: str = ""
    prompt_tokens: int = 0
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    inputs: tuple[str, ...] = ()
    dimensions: int = 8
    base64: bool = False

    @property
    def echo(self) -> str:
        """The answer when none is ordered: deterministic, bounded, and different for different prompts."""
        return f"echo: {self.text[:_MAX_ECHO]}"

    def without_order(self, text: str) -> Asked:
        """Return the same request with a prompt of which an order was the first part."""
        return msgspec.structs.replace(self, text=text)


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None

    def words(self) -> str:
        if isinstance(self.content, list):
            return " ".join(part.text for part in self.content if part.text)
        return self.content or ""


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Chat(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None


class _Completion(msgspec.Struct):
    model: str
    prompt: str | list[str | int] = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None


class _Embedding(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: int | None = None
    encoding_format: str | None = None


_CHAT = msgspec.json.Decoder(_Chat)
_COMPLETION = msgspec.json.Decoder(_Completion)
_EMBEDDING = msgspec.json.Decoder(_Embedding)


def read(kind: Kind, body: bytes) -> Asked:
    """
    Read a request's body.

    Raises:
        AskedError: it is not JSON, or not a request of this kind that the lab can answer.
    """
    try:
        if kind == "chat":
            return _read_chat(_CHAT.decode(body))
        if kind == "completion":
            return _read_completion(_COMPLETION.decode(body))
        return _read_embedding(_EMBEDDING.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AskedError(f"the lab cannot read this body: {error}") from error


def count_words(text: str) -> int:
    """Count tokens as the lab understands them: words, or, in texts over a million characters, spaces."""
    return len(text.split()) if len(text) <= _COUNTED_WHOLE else text.count(" ") + 1


def _read_chat(chat: _Chat) -> Asked:
    _one_choice(chat.n)
    last = next((message for message in reversed(chat.messages) if message.role == "user"), None)
    cap = chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    return Asked(
        kind="chat",
        model=chat.model,
        text=last.words() if last else "",
        prompt_tokens=sum(count_words(message.words()) for message in chat.messages),
        stream=chat.stream is True,
        include_usage=chat.stream_options is not None and chat.stream_options.include_usage is True,
        max_tokens=cap,
    )


def _read_completion(completion: _Completion) -> Asked:
    _one_choice(completion.n)
    given = completion.prompt if isinstance(completion.prompt, list) else [completion.prompt]
    if all(isinstance(item, int) for item in given):  # one prompt as token numbers
        given = [" ".join(map(str, given))]
    if len(given) != 1:
        raise AskedError("the lab answers one prompt per request")
    prompt = str(given[0])
    return Asked(
        kind="completion",
        model=completion.model,
        text=prompt,
        prompt_tokens=count_words(prompt),
        stream=completion.stream is True,
        include_usage=completion.stream_options is not None and completion.stream_options.include_usage is True,
        max_tokens=completion.max_tokens,
    )


def _read_embedding(embedding: _Embedding) -> Asked:
    given = embedding.input if isinstance(embedding.input, list) else [embedding.input]
    if given and isinstance(given[0], int):  # one text as token numbers
        given = [" ".join(map(str, given))]
    inputs = tuple(item if isinstance(item, str) else str(item) for item in given)
    dimensions = embedding.dimensions if embedding.dimensions is not None else 8
    if not 1 <= dimensions <= 8192:
        raise AskedError("the lab makes embeddings of 1 to 8192 dimensions")
    return Asked(
        kind="embedding",
        model=embedding.model,
        text=inputs[-1] if inputs else "",
        prompt_tokens=sum(count_words(item) for item in inputs),
        inputs=inputs,
        dimensions=dimensions,
        base64=embedding.encoding_format == "base64",
    )


def _one_choice(n: int | None) -> None:
    if n is not None and n != 1:
        raise AskedError("the lab answers with one choice: `n` must be 1")
