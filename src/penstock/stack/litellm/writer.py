"""A converted stack as the text of `penstock.yaml`, each deployment and model with the lines that it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from penstock.stack import scalar
from penstock.stack.litellm.convert import Imported

_PLAIN = re.compile(r"[A-Za-z0-9$][A-Za-z0-9$._/{}:-]*[A-Za-z0-9}]|[A-Za-z0-9]")
_PLAIN_IN_FLOW = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?")
_SAFE = re.compile(r"[\x20-\x7e]")
_MOST_LINES = 8  # named in one comment
_LONGEST_FLOW = 110  # characters of a line


def text(imported: Imported, file: str) -> str:
    """
    Write the stack in the order of its schema. The same source gives the same text.

    Args:
        file: the name of the source, for the comments.
    """
    name = "".join(character if _SAFE.fullmatch(character) else "?" for character in file)
    lines = [
        f"# Made from {name}, a LiteLLM configuration, by `penstock import litellm`. Judge it with `penstock check`.",
        f"version: {imported.stack['version']}",
    ]
    for section, values in imported.stack.items():
        if section == "version":
            continue
        lines += ["", f"{section}:"]
        if section in {"deployments", "models"}:
            for key, item in values.items():
                lines.append(f"  {_word(key)}:{_origin(name, imported.lines.get((section, key), ()))}")
                lines += _mapping(item, 4)
        else:
            lines += _mapping(values, 2)
    return "\n".join(lines) + "\n"


def plain(value: Any) -> Any:
    """Return values ready for JSON, numbers exactly as they are: one that a JSON reader might round is text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, Decimal):
        if value == int(value):
            return int(value)
        return float(value) if Decimal(repr(float(value))) == value else format(value, "f")
    return value


def _origin(file: str, lines: Sequence[int]) -> str:
    if not lines:
        return ""
    named = ", ".join(map(str, lines[:_MOST_LINES]))
    return f"  # {file}:{named}{' …' if len(lines) > _MOST_LINES else ''}"


def _mapping(values: Mapping[str, Any], indent: int) -> Iterator[str]:
    margin = " " * indent
    for key, value in values.items():
        written = _flow(value)
        if isinstance(value, list | dict) and indent + len(key) + len(written) > _LONGEST_FLOW:
            yield f"{margin}{_word(key)}:"
            if isinstance(value, dict):
                yield from _mapping(value, indent + 2)
            else:
                yield from (f"{margin}  - {_word(item)}" for item in value)
        else:
            yield f"{margin}{_word(key)}: {written if isinstance(value, list | dict) else _word(value)}"


def _flow(value: Any) -> str:
    """Write a value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_word(key, _PLAIN_IN_FLOW)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _word(value, _PLAIN_IN_FLOW)


def _word(value: object, pattern: re.Pattern[str] = _PLAIN) -> str:
    """Write a scalar, in quotes where YAML or Penstock would read it as something else."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if not isinstance(value, str):
        return str(value)
    if pattern.fullmatch(value) and scalar.value_of(value) == value:
        return value
    return '"' + "".join(_escaped(character) for character in value) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if _SAFE.fullmatch(character):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
