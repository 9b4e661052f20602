"""The YAML of LiteLLM configurations: anchors, aliases and merge keys, with lines and bounds."""

from __future__ import annotations

import pytest

from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.document import MAX_BYTES, NotImported, parse


def read(text: str | bytes) -> Cursor:
    content = text if isinstance(text, bytes) else text.encode()
    return Cursor(parse(content, "c.yaml").root, (), 1)


def test_merge_keys_give_what_is_not_there() -> None:
    root = read("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 5}\n")
    merged = root.get("c")
    assert merged is not None
    assert {key: value.text for key, value in merged.entries()} == {"x": "5", "y": "2", "z": "4"}


def test_the_last_of_equal_keys_counts() -> None:
    found = read("a: 1\na: 2\n").get("a")
    assert found is not None
    assert (found.text, found.line) == ("2", 2)


def test_variables_are_found_everywhere() -> None:
    document = parse(b"a: [os.environ/ONE, {b: os.environ/TWO}]\nc: os.environ/NOT-ONE\n", "c.yaml")
    assert document.variables == {"ONE", "TWO"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "c.yaml: not a LiteLLM configuration, which is a mapping"),
        (b"- a\n", "c.yaml: not a LiteLLM configuration, which is a mapping"),
        (b"a: 1\n---\nb: 2\n", "c.yaml:2: there is a second YAML document"),
        (b"a: 1\nb: [\n", "c.yaml:3: not valid YAML"),
        (b"a: 1\nb: \xff\n", "c.yaml:2: not valid UTF-8"),
        (b"a: \x00\n", "c.yaml: not valid YAML"),
        (b"a: 1\nb: *nothing\n", "c.yaml:2: an alias (*name) stands before its anchor"),
        (b"a: &a [*a]\n", "c.yaml:1: an alias (*name) stands before its anchor"),
        (b"a: {<<: 1}\n", "c.yaml:1: a merge key (<<) wants a mapping"),
        (b"? [a]\n: 1\n", "c.yaml:1: a key is a single word"),
        (b"[" * 40, "c.yaml:1: nested deeper than 32 levels"),
        (b"a: " + b"x" * MAX_BYTES, "c.yaml: the file is larger than 1048576 bytes"),
    ],
)
def test_what_cannot_be_read_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(NotImported) as caught:
        read(content)
    assert str(caught.value).startswith(sentence)


def test_aliases_of_aliases_are_bounded() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(NotImported, match=r"c\.yaml:\d: aliases and merge keys make more than"):
        read("\n".join(levels))


def test_merge_keys_of_merge_keys_are_bounded() -> None:
    entries = ", ".join(f"k{n}: 1" for n in range(1000))
    with pytest.raises(NotImported, match="aliases and merge keys make more than"):
        read(f"a: &a {{{entries}}}\n" + "".join(f"b{n}: {{<<: [*a, *a]}}\n" for n in range(600)))
