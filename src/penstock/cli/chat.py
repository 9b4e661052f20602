"""`penstock chat`: talk to a model, streamed, in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec
import typer

from penstock.cli import output
from penstock.cli.client import MAX_LINE, Endpoint, Unreachable, stream
from penstock.cli.models import listed
from penstock.cli.options import DataKeyOption, DataUrlOption, HomeOption, data
from penstock.types.errors import PenstockError


class AnswerFailed(PenstockError):
    """The stream of an answer reported an error or broke."""


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Error(msgspec.Struct):
    message: str = "the model failed"


class _Chunk(msgspec.Struct):
    """The part of a streamed chunk that is shown."""

    choices: list[_Choice] = []
    error: _Error | None = None


def chat(
    model: Annotated[str | None, typer.Argument(help="Which model; without it the first one listed.")] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Ask this once and leave.")] = None,
    system: Annotated[str | None, typer.Option(help="The system message.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer, in tokens.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="0 always picks the likeliest token.")] = None,
    home: HomeOption = None,
    url: DataUrlOption = None,
    key: DataKeyOption = None,
) -> None:
    """
    Talk to a model. On this machine no key is needed.

    Ctrl-C stops an answer, Ctrl-D leaves. Text piped in is asked as one message.
    """
    endpoint = data(home, url, key)
    if model is None:
        rows = listed(endpoint)
        if not rows:
            raise AnswerFailed("no model is served; see `penstock status`")
        model = str(rows[0].get("id"))
    talk = _Conversation(endpoint, model, system, max_tokens, temperature)
    if message is None and sys.stdin.isatty():
        _interact(talk)
        return
    question = message if message is not None else sys.stdin.read()
    if not question.strip():
        raise typer.BadParameter("there is nothing to ask: give -m TEXT, or pipe it in")
    talk.ask(question)


class _Conversation:
    """What has been said so far, sent whole with each question. Belongs to one command."""

    def __init__(
        self, endpoint: Endpoint, model: str, system: str | None, max_tokens: int | None, temperature: float | None
    ) -> None:
        self.model = model
        self._endpoint = endpoint
        self._options = {"max_tokens": max_tokens, "temperature": temperature}
        self._messages = [{"role": "system", "content": system}] if system is not None else []

    def ask(self, question: str) -> None:
        """
        Print the answer as it arrives. What fails leaves no trace in the conversation; what is interrupted stays in it
        as far as it came, and KeyboardInterrupt goes on.
        """
        messages = [*self._messages, {"role": "user", "content": question}]
        body = {"model": self.model, "messages": messages, "stream": True}
        body.update({name: value for name, value in self._options.items() if value is not None})
        parts: list[str] = []
        finish: str | None = None
        try:
            with stream(self._endpoint, "/v1/chat/completions", body) as lines:
                for chunk in _chunks(lines):
                    for choice in chunk.choices:
                        finish = choice.finish_reason or finish
                        if choice.delta.content:
                            parts.append(choice.delta.content)
                            print(output.text(choice.delta.content), end="", flush=True)
        except KeyboardInterrupt:
            if parts:
                self._messages = [*messages, {"role": "assistant", "content": "".join(parts)}]
            raise
        finally:
            if parts:
                print(flush=True)
        self._messages = [*messages, {"role": "assistant", "content": "".join(parts)}]
        if finish not in (None, "stop"):
            output.note("(cut off at the token limit)" if finish == "length" else f"(ended: {output.line(finish)})")


def events(lines: Iterable[bytes]) -> Iterator[bytes]:
    """
    Yield the data of each server-sent event, comments and other fields left out.

    Raises:
        AnswerFailed: an event is longer than a line may be.
    """
    data: list[bytes] = []
    size = 0
    for raw in lines:
        text = raw.rstrip(b"\r\n")
        if text.startswith(b"data:"):
            data.append(text[5:].removeprefix(b" "))
            size += len(text)
            if size > MAX_LINE:
                raise AnswerFailed("the answer holds an event that is too long")
        elif not text and data:
            yield b"\n".join(data)
            data, size = [], 0


def _chunks(lines: Iterable[bytes]) -> Iterator[_Chunk]:
    """Yield the chunks up to `[DONE]`; an error inside the stream, and a stream without its end, are raised."""
    decoder = msgspec.json.Decoder(_Chunk)
    for event in events(lines):
        if event == b"[DONE]":
            return
        try:
            chunk = decoder.decode(event)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AnswerFailed("the answer holds an event that cannot be read") from error
        if chunk.error is not None:
            raise AnswerFailed(chunk.error.message)
        yield chunk
    raise Unreachable("the answer was cut off before its end")


def _interact(talk: _Conversation) -> None:
    """Ask and answer until Ctrl-D."""
    import readline  # noqa: F401  # importing it gives input() line editing and history

    output.note(f"Talking to {output.line(talk.model)}. Ctrl-C stops an answer, Ctrl-D leaves.")
    while True:
        try:
            question = input("> ")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            output.note("\n(Ctrl-D leaves)")
            continue
        if not question.strip():
            continue
        try:
            talk.ask(question)
        except KeyboardInterrupt:
            output.note("(stopped)")
        except PenstockError as error:
            output.note(f"Error: {output.text(str(error))}")
