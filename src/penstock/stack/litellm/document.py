"""
The YAML of a LiteLLM configuration as a tree in which every key and value knows its line.

Unlike stack files these use anchors, aliases and merge keys, so these are resolved here. What they repeat counts as
often as it is repeated, so the tree stays as small as its bound says, however it is walked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import yaml

from penstock.stack.source import Entries, Entry, Items, Node, Word
from penstock.types.errors import StackError

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 1_000_000  # with what aliases and merge keys repeat; a file of the largest size has fewer of its own

_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_REFERENCE = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")


class NotImported(StackError):
    """The file cannot be read as a configuration of the gateway that it is said to be from."""


class Document(msgspec.Struct, frozen=True):
    """
    Attributes:
        variables: the environment variables that the file refers to.
    """

    root: Entries
    variables: frozenset[str]


def parse(content: bytes, file: str) -> Document:
    """
    Read the content of a configuration.

    Args:
        file: the name to use in messages.
    Raises:
        NotImported: not UTF-8, not YAML, too large, too deep, or not one mapping. The sentence repeats nothing of it.
    """
    if len(content) > MAX_BYTES:
        raise NotImported(f"{file}: the file is larger than {MAX_BYTES} bytes")
    try:
        builder = _Builder(content.decode("utf-8-sig"), file)
        root = builder.document()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise NotImported(f"{file}:{line}: not valid UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        raise NotImported(f"{where}: not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError:
        raise NotImported(f"{file}: not valid YAML: it has a character that YAML does not allow") from None
    if not isinstance(root, Entries):
        raise NotImported(f"{file}: not a LiteLLM configuration, which is a mapping with a model_list")
    return Document(root, frozenset(builder.variables))


def variable_of(text: str) -> str | None:
    """Return the variable's name where the text is `os.environ/NAME`, else None."""
    match = _REFERENCE.fullmatch(text)
    return match[1] if match else None


class _Builder:
    """Turns the parser's events into the tree. Used once."""

    def __init__(self, text: str, file: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)
        self._file = file
        self._anchors: dict[str, tuple[Node, int]] = {}  # with the number of nodes in it
        self._made = 0
        self.variables: set[str] = set()

    def document(self) -> Node | None:
        """Return the root of the first document, or None when there is none; LiteLLM reads one too."""
        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self._refused(event, "there is a second YAML document; LiteLLM reads files of one")
                root = self._node(next(self._events), 0)
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise self._refused(event, "an alias (*name) stands before its anchor is complete")
            node, size = self._anchors[event.anchor]
            self._count(event, size)
            return node
        assert isinstance(event, yaml.NodeEvent)
        before = self._made
        self._count(event, 1)
        node = self._fresh(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._made - before)
        return node

    def _fresh(self, event: yaml.Event, depth: int) -> Node:
        line = _line(event)
        if isinstance(event, yaml.ScalarEvent):
            if variable := variable_of(event.value):
                self.variables.add(variable)
            return Word(event.value, not event.style, line)
        if depth >= MAX_DEPTH:
            raise self._refused(event, f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(event, depth + 1))
            return Items(tuple(items), line)
        return Entries(self._mapping(depth), line)

    def _mapping(self, depth: int) -> tuple[Entry, ...]:
        """Read a mapping. As in LiteLLM's reader the last of equal keys counts, and own keys go before merged ones."""
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refused(event, "a key is a single word")
            value = self._node(next(self._events), depth + 1)
            if event.value == "<<" and not event.style:
                for entry in self._merged(event, value):
                    merged.setdefault(entry.key, entry)
            else:
                own[event.value] = Entry(event.value, value, _line(event))
        return tuple({**merged, **own}.values())

    def _merged(self, event: yaml.Event, value: Node) -> Iterator[Entry]:
        for node in value.items if isinstance(value, Items) else (value,):
            if not isinstance(node, Entries):
                raise self._refused(event, "a merge key (<<) wants a mapping")
            self._count(event, len(node.entries))
            yield from node.entries

    def _count(self, event: yaml.Event, number: int) -> None:
        self._made += number
        if self._made > MAX_NODES:
            raise self._refused(event, f"aliases and merge keys make more than {MAX_NODES} values of it")

    def _refused(self, event: yaml.Event, sentence: str) -> NotImported:
        return NotImported(f"{self._file}:{_line(event)}: {sentence}")


def _line(event: yaml.Event) -> int:
    assert event.start_mark is not None
    return event.start_mark.line + 1
