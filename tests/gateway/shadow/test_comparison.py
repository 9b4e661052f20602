"""How two answers compare: by their figures and their texts, without any of these in the result."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.shadow.comparison import Comparison, Figures, compare, similarity
from penstock.gateway.shadow.transcript import Transcript
from penstock.types.dialect import Dialect
from penstock.types.usage import Usage
from tests.gateway.shadow.test_transcript import LONG, delta, heard

PLAIN = Figures(Usage(10, 20), 0.2, None, 1_000)
STREAM = Figures(Usage(10, 20), 0.2, 0.05, 1_000)


def transcript(text: str, *, whole: bool = True) -> Transcript:
    said = heard(Dialect.CHAT, delta(content=text))
    said.whole = whole
    return said


def compared(one: Transcript, other: Transcript) -> Comparison:
    return compare(PLAIN, PLAIN, one, other)


def test_the_figures_stand_side_by_side_the_copys_first() -> None:
    copy = Figures(Usage(11, 40), 0.1, 0.1, None)
    found = compare(STREAM, copy, transcript("yes"), transcript("yes"))
    assert found.words == (
        "the same text; total 100 ms against 200 ms; first content 100 ms against 50 ms; "
        "tokens 11 + 40 against 10 + 20; USD unknown against 0.000001000"
    )
    assert (found.duration_ratio, found.first_ratio) == (0.5, 2.0)


def test_a_plain_answer_has_no_first_content() -> None:
    found = compared(transcript("yes"), transcript("yes"))
    assert "first content" not in found.words
    assert found.first_ratio is None


def test_equal_and_different_texts() -> None:
    same, other = compared(transcript("one"), transcript("one")), compared(transcript("one"), transcript("two"))
    assert (same.equal, same.similarity) == (True, 1.0)
    assert (other.equal, other.similarity) == (False, 0.0)
    assert other.words.startswith("another text (similarity 0.00); ")
    assert "one" not in other.words


def test_texts_that_differ_only_behind_what_is_compared_are_not_equal() -> None:
    found = compared(transcript("a" * 5000 + "b"), transcript("a" * 5000 + "c"))
    assert (found.equal, found.similarity) == (False, 1.0)


def test_texts_that_are_not_whole_are_compared_as_far_as_they_go() -> None:
    cut, longer, shorter = transcript("one two", whole=False), transcript("one two three"), transcript("one")
    for pair in ((cut, longer), (longer, cut)):
        assert (compared(*pair).equal, compared(*pair).similarity) == (None, 1.0)
    assert compared(cut, longer).words.startswith("texts that were not kept whole (similarity 1.00 as far as they go)")
    for pair in ((cut, shorter), (shorter, cut)):
        assert 0 < (compared(*pair).similarity or 0) < 1, "a whole text that is shorter is another one"


def test_an_answer_that_could_not_be_read_is_not_compared() -> None:
    unread = Transcript(Dialect.CHAT, LONG)
    unread.whole = False
    found = compared(transcript("one"), unread)
    assert (found.equal, found.similarity) == (None, None)
    assert found.words.startswith("texts that cannot be compared; ")


def test_silence_is_compared() -> None:
    assert compared(transcript(""), transcript("")).equal is True
    assert compared(transcript(""), transcript("words")).similarity == 0.0


def test_an_original_that_took_no_time_has_no_ratio() -> None:
    instant = Figures(Usage(), 0.0, None, 0)
    assert compare(instant, PLAIN, transcript(""), transcript("")).duration_ratio is None


def test_nearer_texts_are_more_alike() -> None:
    base = "the quick brown fox jumps over the lazy dog"
    near, far = similarity(base, base.replace("lazy", "busy")), similarity(base, "an entirely unrelated sentence")
    assert 0.8 < near < 1
    assert far < 0.2
    assert similarity("not yes, no", "not no, yes") < 1, "the order counts"


@given(st.text(max_size=300), st.text(max_size=300))
def test_similarity_is_symmetric_and_between_nothing_and_one(one: str, other: str) -> None:
    found = similarity(one, other)
    assert found == similarity(other, one)
    assert 0 <= found <= 1
    assert similarity(one, one) == 1
    assert similarity(one, "") == (0 if one else 1)
