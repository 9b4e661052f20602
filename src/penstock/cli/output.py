"""
What reaches the terminal: tables and JSON, with foreign text made harmless.

Answers of models, names in rows and messages of servers may hold escape sequences; every control character in them is
shown as an escape instead of being obeyed.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence

# C0, DEL, C1, line and paragraph separators, direction overrides, surrogates; tab and newline only in single lines.
_UNSAFE_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_UNSAFE_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def text(foreign: str) -> str:
    """Return foreign text, of several lines, without anything a terminal would obey."""
    return _UNSAFE_TEXT.sub(_escape, foreign)


def line(foreign: object) -> str:
    """Return a foreign value as one line without anything a terminal would obey; None becomes a dash."""
    return "-" if foreign is None else _UNSAFE_LINE.sub(_escape, str(foreign))


def emit_json(value: object) -> None:
    """Print a value as JSON; everything but ASCII is escaped, so that it is safe in any terminal and pipe."""
    print(json.dumps(value, indent=2))


def emit_table(columns: Sequence[str], rows: Iterable[Sequence[object]], right: Sequence[str] = ()) -> None:
    """
    Print rows under their column names, whole when the output is not a terminal.

    Args:
        right: the columns to be aligned to the right.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(line(cell)) for cell in row))
    width = None if sys.stdout.isatty() else 10_000  # a pipe has no width; nothing is to be folded there
    console = Console(file=sys.stdout, width=width, highlight=False)
    with console.capture() as shown:
        console.print(table)
    print("\n".join(row.rstrip() for row in shown.get().splitlines()))


def note(sentence: str) -> None:
    """Print something for the person, on standard error, so that standard output stays data."""
    print(sentence, file=sys.stderr)


def discard() -> None:
    """Give up standard output after a failed write: what is still buffered would fail again at the very end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character) or (
        f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    )
