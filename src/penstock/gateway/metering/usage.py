"""Token counts out of replies, or estimated where an upstream does not tell."""

from __future__ import annotations

import msgspec

from penstock.types.usage import Usage, UsageSource

_BYTES_PER_TOKEN = 4  # rough average for English text in byte-pair vocabularies; only for estimates marked as such
_LARGEST = 10**9  # no exchange has more tokens; larger figures are an upstream's error


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class Reporting(msgspec.Struct):
    """A reply or event as far as it reports usage; what else is wanted of it a subclass adds."""

    usage: _Usage | None = None


_decode = msgspec.json.Decoder(Reporting).decode


def reported(document: bytes) -> Usage | None:
    """
    Return the usage that a JSON reply or event carries, or None when it has none that can be believed.

    A document that is not JSON has none either.
    """
    try:
        return believed(_decode(document))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def believed(document: Reporting) -> Usage | None:
    """Return the usage that a decoded reply or event carries, or None when it has none that can be believed."""
    usage = document.usage
    if usage is None or usage.prompt_tokens is None:
        return None
    cached = (usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else None) or 0
    output = usage.completion_tokens or 0
    if not (0 <= usage.prompt_tokens <= _LARGEST and 0 <= output <= _LARGEST and 0 <= cached <= usage.prompt_tokens):
        return None
    return Usage(usage.prompt_tokens, output, cached, UsageSource.UPSTREAM)


def counted(request_bytes: int, content_events: int) -> Usage:
    """Return the usage of a stream from what was delivered: engines send a token or more per event."""
    return Usage(_tokens(request_bytes), content_events, 0, UsageSource.COUNTED)


def estimated(request_bytes: int, reply_bytes: int) -> Usage:
    """Return the usage of a whole reply that does not report any, from sizes; `reply_bytes` 0 where output is free."""
    return Usage(_tokens(request_bytes), _tokens(reply_bytes), 0, UsageSource.ESTIMATED)


def of_all(first: Usage, choices: int) -> Usage:
    """Return the usage of all choices where that of the first alone is known: as if each were as long."""
    return Usage(first.input_tokens, first.output_tokens * choices, first.cache_read_tokens, UsageSource.ESTIMATED)


def _tokens(size: int) -> int:
    return -(-size // _BYTES_PER_TOKEN)
