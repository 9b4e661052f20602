"""A place in the document: its path, its line, and its value read as what is wanted there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from penstock.stack import scalar
from penstock.stack.keypath import KeyPath
from penstock.stack.litellm.document import variable_of
from penstock.stack.source import Entries, Items, Node, Word

_GROUPED = re.compile(r"[0-9]{1,3}(?:_[0-9]{3})+")
_NO = frozenset({"false", "no", "off", "n", "0"})
_YES = frozenset({"true", "yes", "on", "y", "1"})  # LiteLLM's reader follows YAML 1.1


class Cursor(msgspec.Struct, frozen=True):
    """
    Attributes:
        line: from 1; the key's where the value has one.
    """

    node: Node
    path: KeyPath
    line: int

    def get(self, key: str) -> Cursor | None:
        """Return the value of a key; None when it is not there, has no value, or this is no mapping."""
        if not isinstance(self.node, Entries):
            return None
        for entry in self.node.entries:
            if entry.key == key:
                found = Cursor(entry.value, (*self.path, key), entry.line)
                return None if found.empty else found
        return None

    def entries(self) -> Iterator[tuple[str, Cursor]]:
        """Yield the keys that have a value; none when this is no mapping."""
        if isinstance(self.node, Entries):
            for entry in self.node.entries:
                found = Cursor(entry.value, (*self.path, entry.key), entry.line)
                if not found.empty:
                    yield entry.key, found

    def items(self) -> Iterator[Cursor]:
        """Yield the items of a list; none when this is no list."""
        if isinstance(self.node, Items):
            for index, item in enumerate(self.node.items):
                yield Cursor(item, (*self.path, index), item.line)

    def words(self) -> Iterator[Cursor]:
        """Yield the items of a list of words, or the one word that stands for such a list."""
        if isinstance(self.node, Word):
            yield self
        yield from (item for item in self.items() if isinstance(item.node, Word))

    @property
    def empty(self) -> bool:
        """Whether this is a key without a value, or null."""
        return isinstance(self.node, Word) and self.node.plain and scalar.value_of(self.node.text) is None

    @property
    def text(self) -> str | None:
        """The word as written; None when this is a list or a mapping."""
        return self.node.text if isinstance(self.node, Word) else None

    @property
    def variable(self) -> str | None:
        """NAME where this is `os.environ/NAME`."""
        return None if self.text is None else variable_of(self.text)

    @property
    def number(self) -> Decimal | None:
        """The number, zero or more; None when this is something else."""
        text = self.text or ""
        found = scalar.value_of(text.replace("_", "") if _GROUPED.fullmatch(text) else text)
        if isinstance(found, bool) or not isinstance(found, int | Decimal) or found < 0:
            return None
        return Decimal(found)

    @property
    def off(self) -> bool:
        """Whether this switches something off, or is empty."""
        if isinstance(self.node, Word):
            return self.node.text.lower() in _NO or not self.node.text
        return not (self.node.items if isinstance(self.node, Items) else self.node.entries)

    @property
    def on(self) -> bool:
        """Whether this switches something on."""
        return self.text is not None and self.text.lower() in _YES
