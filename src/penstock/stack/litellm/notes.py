"""What a person should know about a conversion: what was left out, and what is to be done or was read in some way."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.stack.keypath import KeyPath, written
from penstock.stack.litellm.cursor import Cursor

_MOST_LINES = 20  # named in a sentence


class Note(msgspec.Struct, frozen=True):
    """
    One thing to know, told once however often it occurs.

    Attributes:
        path: the key of the source that it is about, where it occurs first; empty when that is the file as a whole.
        lines: of the source, from 1, ascending; empty when there is no line to point at.
        left_out: something of the source is not in the stack; else the stack has it, and this says how.
        sentence: without any value that may be a secret.
    """

    path: KeyPath
    lines: tuple[int, ...]
    left_out: bool
    sentence: str

    def written(self, file: str) -> str:
        """Return `Left out: config.yaml:12: router_settings.cooldown_time: …`."""
        place = f"{file}:{self.lines[0]}" if self.lines else file
        key = f" {written(self.path)}:" if self.path else ""
        others = [str(line) for line in self.lines[1:]]
        more = f" (and line{'s' if len(others) > 1 else ''} {', '.join(others[:_MOST_LINES])}" if others else ""
        more += " and others)" if len(others) > _MOST_LINES else ")" if others else ""
        return f"{'Left out' if self.left_out else 'Note'}: {place}:{key} {self.sentence}{more}"

    def described(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return {
            "path": written(self.path),
            "lines": list(self.lines),
            "left_out": self.left_out,
            "sentence": self.sentence,
        }


class Notes:
    """Collects the notes of one conversion."""

    def __init__(self) -> None:
        self._found: dict[tuple[bool, str, str | int | None], list[tuple[KeyPath, int | None]]] = {}

    def left_out(self, at: Cursor | None, sentence: str) -> None:
        """Say that what is there is not in the stack, and what to do instead."""
        self._add(at, sentence, left_out=True)

    def remark(self, at: Cursor | None, sentence: str) -> None:
        """Say what is to be done, or how something was read."""
        self._add(at, sentence, left_out=False)

    def _add(self, at: Cursor | None, sentence: str, *, left_out: bool) -> None:
        path, line = ((), None) if at is None else (at.path, at.line)
        places = self._found.setdefault((left_out, sentence, path[-1] if path else None), [])
        if (path, line) not in places[-1:]:
            places.append((path, line))

    def all(self) -> tuple[Note, ...]:
        """Return them in the order of their first lines, those about the whole file at the end."""
        notes = [
            Note(places[0][0], tuple(sorted({line for _, line in places if line is not None})), left_out, sentence)
            for (left_out, sentence, _), places in self._found.items()
        ]
        return tuple(sorted(notes, key=lambda note: note.lines[:1] or (1 << 62,)))
