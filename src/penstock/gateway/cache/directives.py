"""What a client asks of the cache: the request directives of `cache-control` (RFC 9111, 5.2.1)."""

from __future__ import annotations

import math

import msgspec

_MAX = 1024  # bytes of a header that is read; no directive that means something here comes behind so many


class Directives(msgspec.Struct, frozen=True):
    """
    Attributes:
        reads: an answer that is kept will do.
        keeps: the answer may be kept.
        only: nothing but a kept answer will do.
        max_age_s: how old it may be.
        words: which of them were given, for the explanation.
    """

    reads: bool = True
    keeps: bool = True
    only: bool = False
    max_age_s: float = math.inf
    words: str = ""


ANY = Directives()


def neither(word: str) -> Directives:
    """Neither read nor keep, because of this."""
    return Directives(reads=False, keeps=False, words=word)


def read(header: bytes | None) -> Directives:
    """Return what a header asks for. What is not known asks for nothing; an age that is none allows no kept answer."""
    if header is None:
        return ANY
    no_cache = no_store = only = False
    max_age, words = math.inf, []
    for part in header[:_MAX].lower().split(b","):
        word, equals, value = part.partition(b"=")
        word, value = word.strip(), value.strip().strip(b'"')
        match word:
            case b"no-cache":
                no_cache = True
            case b"no-store":
                no_store = True
            case b"only-if-cached":
                only = True
            case b"max-age" if equals:
                seconds = float(value) if value.isdigit() else -1.0
                max_age = min(max_age, seconds)
            case _:
                continue
        words.append(word.decode())
    reads = not (no_cache or no_store or max_age < 0)
    return Directives(reads, not no_store, only, max_age, ", ".join(dict.fromkeys(words)))
