from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stack.problem import InvalidStack
from penstock.stack.source import MAX_BYTES, Entries, Entry, Items, Word, parse


def refusal(content: bytes) -> str:
    with pytest.raises(InvalidStack) as caught:
        parse(content, "s.yaml")
    return str(caught.value)


def test_every_key_and_value_knows_its_line() -> None:
    source = parse(b"a: 1\nb:\n  - x\n  - 'y'\nc: {d: e}\n", "s.yaml")
    assert source.root == Entries(
        (
            Entry("a", Word("1", plain=True, line=1), 1),
            Entry("b", Items((Word("x", plain=True, line=3), Word("y", plain=False, line=4)), 3), 2),
            Entry("c", Entries((Entry("d", Word("e", plain=True, line=5), 5),), 5), 5),
        ),
        1,
    )
    assert source.problems == ()


def test_a_byte_order_mark_and_windows_line_ends_are_accepted() -> None:
    source = parse("\ufeffa: 1\r\nb: 2\r\n".encode(), "s.yaml")
    assert [(entry.key, entry.line) for entry in source.root.entries] == [("a", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "s.yaml: the file is empty; a stack needs at least `version: 1`"),
        (b"# only a comment\n", "s.yaml: the file is empty; a stack needs at least `version: 1`"),
        (b"---\n", "s.yaml: the file is empty; a stack needs at least `version: 1`"),
        (b"- a\n", "s.yaml:1: a stack file is a mapping of keys, starting with `version: 1`"),
        (b"\nhello\n", "s.yaml:2: a stack file is a mapping of keys, starting with `version: 1`"),
        (b"a: 1\n---\nb: 2\n", "s.yaml:2: a stack file is a single YAML document"),
        (b"a: 1\nb: *x\n", "s.yaml:2: aliases (*name) are not supported; write the value out"),
        (b"a: &x 1\n", "s.yaml:1: anchors (&name) are not supported; write the value out"),
        (b"a: &x {b: 1}\n", "s.yaml:1: anchors (&name) are not supported; write the value out"),
        (b"a: !!str 1\n", "s.yaml:1: tags (!name) are not supported; quote the value if it is text"),
        (b"a: !!python/name:os.system\n", "s.yaml:1: tags (!name) are not supported; quote the value if it is text"),
        (b"a:\n  <<: {b: 1}\n", "s.yaml:2: merge keys (<<) are not supported; write the values out"),
        (b"a: 1\n? [x]\n: 1\n", "s.yaml:2: a key is a single word; quote a value that starts with {, [ or &"),
        (b"a: 1\nb: \xff\n", "s.yaml:2: not valid UTF-8"),
        (b"a: 1\nb: \x07\n", "s.yaml:2: a control character (U+0007) is not allowed"),
        (b"a: " + b"[" * 40 + b"]" * 40, "s.yaml:1: nested deeper than 16 levels"),
        (b"#" * (MAX_BYTES + 1), f"s.yaml: the file is larger than {MAX_BYTES} bytes"),
    ],
)
def test_what_is_not_plain_data_is_refused(content: bytes, message: str) -> None:
    assert refusal(content) == message


@pytest.mark.parametrize(
    ("content", "line", "hint"),
    [
        (b"a: 1\nb: {c: ${X}}\n", 2, 'inside { } or [ ] a reference needs quotes: "${NAME}"'),
        (b"a: 1\nb: [::1]:8080\n", 2, 'an IPv6 address needs quotes: "[::1]:8080"'),
        (b"a:\n\tb: 1\n", 2, "indent with spaces, not tabs"),
        (b"a: 1\nb: 'open\n", 3, ""),
        (b"a: b: c\n", 1, ""),
    ],
)
def test_broken_yaml_names_its_line_and_what_it_usually_is(content: bytes, line: int, hint: str) -> None:
    message = refusal(content)
    assert message.startswith(f"s.yaml:{line}: not valid YAML: ")
    assert message.endswith(hint)


def test_duplicate_keys_are_problems_and_the_first_one_counts() -> None:
    source = parse(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n", "s.yaml")
    assert [problem.written("s.yaml") for problem in source.problems] == [
        "s.yaml:4: b.c: the key is already on line 3",
        "s.yaml:5: a: the key is already on line 1",
    ]
    assert [entry.key for entry in source.root.entries] == ["a", "b"]


def test_deep_nesting_is_refused_before_it_is_followed() -> None:
    assert "nested deeper" in refusal(b"a: " + b"{a: " * 10_000)
    assert "nested deeper" in refusal(b"- " * 10_000)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        parse(content, "s.yaml")
    except InvalidStack as error:
        assert str(error).startswith("s.yaml")


@given(st.text(alphabet="ab:-{}[]&*!|>'\"%@`#,?\n \t$", max_size=60))
def test_any_yaml_like_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text.encode(), "s.yaml")
    except InvalidStack as error:
        assert str(error).startswith("s.yaml")
