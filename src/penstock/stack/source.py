"""
The YAML text as a tree in which every key and value knows its line.

Only plain data is read: no tags, anchors, aliases or merge keys, one document, mappings with text keys. Size, depth
and so the number of nodes are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import yaml

from penstock.stack.keypath import KeyPath
from penstock.stack.problem import InvalidStack, Problem

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 16

# The C parser when PyYAML has it: ten times as fast on a file near the limit.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Word(msgspec.Struct, frozen=True):
    """A scalar; `plain` when it was written without quotes."""

    text: str
    plain: bool
    line: int


class Items(msgspec.Struct, frozen=True):
    """A list."""

    items: tuple[Node, ...]
    line: int


class Entry(msgspec.Struct, frozen=True):
    """One key of a mapping with its value; `line` (from 1) is the key's."""

    key: str
    value: Node
    line: int


class Entries(msgspec.Struct, frozen=True):
    """A mapping in the order of the file, every key once."""

    entries: tuple[Entry, ...]
    line: int


Node = Word | Items | Entries


class Source(msgspec.Struct, frozen=True):
    """
    A file that is well-formed YAML.

    Attributes:
        problems: duplicate keys; the first of each is in the tree.
    """

    root: Entries
    problems: tuple[Problem, ...]


def parse(content: bytes, file: str) -> Source:
    """
    Read the content of a stack file.

    Args:
        file: the name to use in messages.
    Raises:
        InvalidStack: not UTF-8, not YAML, too large, too deep, not one mapping, or YAML beyond plain data.
    """
    if len(content) > MAX_BYTES:
        raise _invalid(file, None, f"the file is larger than {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _invalid(file, content.count(b"\n", 0, error.start) + 1, "not valid UTF-8") from None
    if unprintable := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, unprintable.start()) + 1
        raise _invalid(file, line, f"a control character (U+{ord(unprintable[0]):04X}) is not allowed")
    builder = _Builder(text, file)
    try:
        root = builder.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _invalid(file, mark.line + 1 if mark else None, _explained(error, text, mark)) from None
    if root is None or (isinstance(root, Word) and root.plain and not root.text):
        raise _invalid(file, None, "the file is empty; a stack needs at least `version: 1`")
    if not isinstance(root, Entries):
        raise _invalid(file, root.line, "a stack file is a mapping of keys, starting with `version: 1`")
    return Source(root, tuple(builder.problems))


class _Builder:
    """Turns the parser's events into the tree. Used once."""

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._file = file
        self.problems: list[Problem] = []

    def document(self) -> Node | None:
        """Return the root of the only document, or None when there is none."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._refused(event, "a stack file is a single YAML document")
                root = self._node(next(self._events), ())
        return root

    def _node(self, event: yaml.Event, path: KeyPath) -> Node:
        line = _line(event)
        if isinstance(event, yaml.AliasEvent):
            raise self._refused(event, "aliases (*name) are not supported; write the value out")
        assert isinstance(event, yaml.NodeEvent)
        if event.anchor is not None:
            raise self._refused(event, "anchors (&name) are not supported; write the value out")
        assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
        if event.tag is not None:
            raise self._refused(event, "tags (!name) are not supported; quote the value if it is text")
        if isinstance(event, yaml.ScalarEvent):
            return Word(event.value, not event.style, line)
        if len(path) >= MAX_DEPTH:
            raise self._refused(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(event, (*path, len(items))))
            return Items(tuple(items), line)
        return Entries(tuple(self._entries(path)), line)

    def _entries(self, path: KeyPath) -> Iterator[Entry]:
        seen: dict[str, int] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refused(event, "a key is a single word; quote a value that starts with {, [ or &")
            key, line = event.value, _line(event)
            if key == "<<":
                raise self._refused(event, "merge keys (<<) are not supported; write the values out")
            value = self._node(next(self._events), (*path, key))
            if key in seen:
                sentence = f"the key is already on line {seen[key]}"
                self.problems.append(Problem((*path, key), line, sentence))
                continue
            seen[key] = line
            yield Entry(key, value, line)

    def _refused(self, event: yaml.Event, sentence: str) -> InvalidStack:
        return _invalid(self._file, _line(event), sentence)


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1


def _invalid(file: str, line: int | None, sentence: str) -> InvalidStack:
    return InvalidStack(file, [Problem((), line, sentence)])


def _explained(error: yaml.MarkedYAMLError, text: str, mark: yaml.Mark | None) -> str:
    """Say what the parser found, without repeating the text, and what it usually comes from."""
    sentence = f"not valid YAML: {error.problem or error.context}"
    lines = text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "${" in line:
        return f'{sentence}; inside {{ }} or [ ] a reference needs quotes: "${{NAME}}"'
    if "[::" in line:
        return f'{sentence}; an IPv6 address needs quotes: "[::1]:8080"'
    if "\t" in line:
        return f"{sentence}; indent with spaces, not tabs"
    return sentence
