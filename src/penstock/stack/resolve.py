"""From the tree of the file to plain values, with the environment read and the origin of each value kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from penstock.stack import environment, scalar
from penstock.stack.keypath import KeyPath
from penstock.stack.problem import Problem
from penstock.stack.source import Entries, Entry, Items, Node, Source, Word


class OriginKind(StrEnum):
    """Where a value comes from."""

    FILE = "file"
    ENVIRONMENT = "environment"
    DEFAULT = "default"
    BOOK = "book"  # the price book


class Origin(msgspec.Struct, frozen=True):
    """
    Where one value comes from; `str()` says it in words.

    Attributes:
        file: the file's name as the user gave it; of the price book its version and the entry; empty for a default.
        line: from 1; 0 for what is in no file.
        variables: the environment variables that were read for it.
    """

    kind: OriginKind
    file: str = ""
    line: int = 0
    variables: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind is OriginKind.DEFAULT:
            return "default"
        if self.kind is OriginKind.BOOK:
            return self.file
        place = f"{self.file}:{self.line}"
        if self.kind is OriginKind.FILE:
            return place
        return f"environment {', '.join(self.variables)} ({place})"


class Resolved(msgspec.Struct, frozen=True):
    """
    The file as plain values.

    Attributes:
        data: mappings, lists, and scalars as `penstock.stack.scalar` reads them; text that an environment variable
            went into is `FromEnvironment`.
        key_lines: the line of each key, by path.
        origins: the origin of each value, by path; of mappings and lists too. An origin's line is the value's.
        problems: references that could not be resolved; the value at their path is then only a placeholder.
    """

    data: dict[str, Any]
    key_lines: dict[KeyPath, int]
    origins: dict[KeyPath, Origin]
    problems: tuple[Problem, ...]


def resolve(
    source: Source, file: str, environ: Mapping[str, str], keeps_reference: Callable[[KeyPath], bool]
) -> Resolved:
    """
    Replace environment references and give every scalar its meaning.

    Args:
        keeps_reference: tells for which paths a reference stays a reference (secrets, which are read by their user).
    """
    walk = _Walk(file, environ, keeps_reference)
    data = walk.mapping(source.root, ())
    return Resolved(data, walk.key_lines, walk.origins, tuple(walk.problems))


class _Walk:
    """Collects what the recursion over the tree finds. Used once."""

    def __init__(self, file: str, environ: Mapping[str, str], keeps_reference: Callable[[KeyPath], bool]) -> None:
        self._file = file
        self._environ = environ
        self._keeps_reference = keeps_reference
        self.key_lines: dict[KeyPath, int] = {}
        self.origins: dict[KeyPath, Origin] = {}
        self.problems: list[Problem] = []

    def mapping(self, node: Entries, path: KeyPath) -> dict[str, Any]:
        return {entry.key: self._entry(entry, (*path, entry.key)) for entry in node.entries}

    def _entry(self, entry: Entry, path: KeyPath) -> Any:
        self.key_lines[path] = entry.line
        return self._value(entry.value, path)

    def _value(self, node: Node, path: KeyPath) -> Any:
        self.origins[path] = Origin(OriginKind.FILE, self._file, node.line)
        if isinstance(node, Entries):
            return self.mapping(node, path)
        if isinstance(node, Items):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.items)]
        return self._word(node, path)

    def _word(self, word: Word, path: KeyPath) -> scalar.Scalar:
        if self._keeps_reference(path):
            return scalar.value_of(word.text) if word.plain else word.text
        try:
            text = environment.expand(word.text, self._environ)
        except ValueError as error:
            self.problems.append(Problem(path, word.line, str(error)))
            return ""
        if isinstance(text, environment.FromEnvironment):
            self.origins[path] = Origin(OriginKind.ENVIRONMENT, self._file, word.line, text.names)
            return text
        return scalar.value_of(text) if word.plain else text
