"""The comparison of two answers to the same request. No I/O, and no text in what comes of it."""

from __future__ import annotations

from collections import Counter

import msgspec

from penstock.gateway.shadow.transcript import Transcript
from penstock.pricing.price import usd
from penstock.types.usage import Usage

_MOST_COMPARED = 4096  # characters of each text, from the beginning: a millisecond or two
_SHINGLE = 3


class Figures(msgspec.Struct, frozen=True):
    """
    What an answer took.

    Attributes:
        duration_s: from the request's arrival to the end of its answer.
        first_s: from there to the first content of a stream; None where that is not seen.
        cost_nano: nano-dollars; None where it is not known.
    """

    usage: Usage
    duration_s: float
    first_s: float | None
    cost_nano: int | None


class Comparison(msgspec.Struct, frozen=True):
    """
    How a copy's answer compares with the original.

    Attributes:
        equal: whether they say the same; None where that cannot be told.
        similarity: of what they say, see `similarity`; None likewise.
        duration_ratio, first_ratio: the copy's time to that of the original; None where there is none.
        words: all of it, for the explanation of the copy.
    """

    equal: bool | None
    similarity: float | None
    duration_ratio: float | None
    first_ratio: float | None
    words: str


def compare(original: Figures, copy: Figures, said: Transcript, copied: Transcript) -> Comparison:
    """Compare two answers, by what they took and what they say."""
    equal, alike, text = _texts(said, copied)
    parts = [text, f"total {_ms(copy.duration_s)} against {_ms(original.duration_s)}"]
    if copy.first_s is not None and original.first_s is not None:
        parts.append(f"first content {_ms(copy.first_s)} against {_ms(original.first_s)}")
    parts.append(f"tokens {_tokens(copy.usage)} against {_tokens(original.usage)}")
    parts.append(f"USD {_cost(copy.cost_nano)} against {_cost(original.cost_nano)}")
    return Comparison(
        equal,
        alike,
        _ratio(copy.duration_s, original.duration_s),
        _ratio(copy.first_s, original.first_s),
        "; ".join(parts),
    )


def _texts(said: Transcript, copied: Transcript) -> tuple[bool | None, float | None, str]:
    """Return whether two texts are equal, how alike they are, and both in words."""
    one, other = said.text, copied.text
    if said.whole and copied.whole:
        alike = similarity(one, other)
        return one == other, alike, "the same text" if one == other else f"another text (similarity {alike:.2f})"
    if not said.whole:
        other = other[: len(one)]
    if not copied.whole:
        one = one[: len(other)]
    if not one or not other:
        return None, None, "texts that cannot be compared"
    alike = similarity(one, other)
    return None, alike, f"texts that were not kept whole (similarity {alike:.2f} as far as they go)"


def similarity(one: str, other: str) -> float:
    """
    Return how alike two texts are by their first 4,096 characters: from 0, nothing in common, to 1.

    It is the Dice coefficient of their character trigrams, each counted as often as it occurs (Adamson and Boreham,
    1974, who took bigrams and each once). Its cost grows with the length alone, whatever the texts are, as that of an
    edit distance would not; and it needs no words, so that it serves texts without blanks too.
    """
    first, second = _shingles(one), _shingles(other)
    total = first.total() + second.total()
    if not total:
        return 1.0
    return 2 * (first & second).total() / total


def _shingles(text: str) -> Counter[str]:
    text = text[:_MOST_COMPARED]
    if len(text) < _SHINGLE:
        return Counter((text,)) if text else Counter()
    return Counter(text[at : at + _SHINGLE] for at in range(len(text) - _SHINGLE + 1))


def _ratio(copy: float | None, original: float | None) -> float | None:
    return copy / original if copy is not None and original is not None and original > 0 else None


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _tokens(usage: Usage) -> str:
    return f"{usage.input_tokens} + {usage.output_tokens}"


def _cost(nano: int | None) -> str:
    return "unknown" if nano is None else usd(nano)
