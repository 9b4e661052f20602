from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stack.environment import FromEnvironment, expand, reference

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
PLAIN = st.text(st.characters(exclude_characters="$}"), max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${HOST}", "box"),
        ("http://${HOST}:${PORT}/v1", "http://box:80/v1"),
        ("${NONE:-fallback}", "fallback"),
        ("${EMPTY:-fallback}", "fallback"),
        ("${HOST:-fallback}", "box"),
        ("${NONE:-}", ""),
        ("${EMPTY}", ""),
        ("$$5 and $${HOST}", "$5 and ${HOST}"),
        ("os.environ/HOST", "box"),
        ("see os.environ/HOST", "see os.environ/HOST"),
        ("${NESTED}", "${HOST}"),
    ],
)
def test_references_are_replaced(text: str, expected: str) -> None:
    assert expand(text, {"HOST": "box", "PORT": "80", "EMPTY": "", "NESTED": "${HOST}"}) == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("${GONE}", "the environment variable GONE is not set; set it, or write ${GONE:-default}"),
        ("os.environ/GONE", "the environment variable GONE is not set; set it, or write ${GONE:-default}"),
        ("$HOME", "a reference is written ${NAME}, and a dollar sign is written $$"),
        ("5$", "a reference is written ${NAME}, and a dollar sign is written $$"),
        ("${OPEN", "a reference is written ${NAME}, and a dollar sign is written $$"),
        ("${}", "a reference is written ${NAME} or ${NAME:-default}; a name has letters, digits and _"),
        ("${A-B}", "a reference is written ${NAME} or ${NAME:-default}; a name has letters, digits and _"),
        ("${A:-${B}}", "the default of ${A} is plain text; it cannot hold another reference"),
    ],
)
def test_a_wrong_reference_gets_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:  # the sentence is compared whole below
        expand(text, {})
    assert str(caught.value) == sentence


@given(PLAIN)
def test_text_without_dollar_signs_stays_as_it_is(text: str) -> None:
    if text.startswith("os.environ/"):
        return
    assert expand(text, {}) == text
    assert not isinstance(expand(text, {}), FromEnvironment)


@given(st.text(max_size=30))
def test_any_text_can_be_written_with_doubled_dollar_signs(text: str) -> None:
    if not text.startswith("os.environ/"):
        assert expand(text.replace("$", "$$"), {}) == text


@given(PLAIN, NAMES, st.text(max_size=30), PLAIN)
def test_a_value_goes_in_unchanged_and_is_known_to_come_from_there(
    before: str, name: str, value: str, after: str
) -> None:
    expanded = expand(f"{before}${{{name}}}{after}", {name: value})
    assert expanded == before + value + after
    assert isinstance(expanded, FromEnvironment)
    assert expanded.names == (name,)


@given(st.text(max_size=60))
def test_anything_is_either_expanded_or_refused(text: str) -> None:
    try:
        expand(text, {"A": "a"})
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "name"),
    [("${KEY}", "KEY"), ("os.environ/KEY", "KEY"), ("${KEY:-x}", None), ("x${KEY}", None), ("$$KEY", None), ("", None)],
)
def test_a_whole_reference_is_recognised(text: str, name: str | None) -> None:
    assert reference(text) == name
