"""The dialects that clients speak here. Adding one: its modules, a line in `SPOKEN`, a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from penstock.gateway.dialects import anthropic, anthropic_answers, openai, openai_answers, responses, responses_answers
from penstock.gateway.dialects.answers import Answers
from penstock.gateway.dialects.call import Call
from penstock.types.dialect import Dialect


class Spoken(msgspec.Struct, frozen=True):
    """
    One dialect as clients speak it.

    Attributes:
        path: where it is called.
        parse: from a body to the call; raises InvalidRequest.
        for_upstream: the body for an upstream that speaks the same, from the call, the upstream's own model name, and
            what it calls the cap of an output where one is to be put in.
        answers: reads what comes back.
        like_anthropic: it is one of Anthropic's, whose SDKs look for other headers.
    """

    dialect: Dialect
    path: str
    parse: Callable[[bytes], Call]
    for_upstream: Callable[[Call, str, str | None], bytes]
    answers: Answers
    like_anthropic: bool = False


def _of_openai(dialect: Dialect, path: str) -> Spoken:
    return Spoken(dialect, path, partial(openai.parse, dialect), openai.for_upstream, openai_answers)


def _of_anthropic(dialect: Dialect, path: str, parse: Callable[[bytes], Call]) -> Spoken:
    return Spoken(dialect, path, parse, anthropic.for_upstream, anthropic_answers, like_anthropic=True)


SPOKEN = (
    _of_openai(Dialect.CHAT, "/v1/chat/completions"),
    _of_openai(Dialect.COMPLETIONS, "/v1/completions"),
    _of_openai(Dialect.EMBEDDINGS, "/v1/embeddings"),
    Spoken(Dialect.RESPONSES, "/v1/responses", responses.parse, responses.for_upstream, responses_answers),
    _of_anthropic(Dialect.MESSAGES, "/v1/messages", anthropic.parse),
    _of_anthropic(Dialect.COUNT, "/v1/messages/count_tokens", anthropic.parse_count),
)

BY_PATH: Mapping[str, Spoken] = {spoken.path: spoken for spoken in SPOKEN}
