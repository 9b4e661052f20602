"""The place of a value inside the stack file, and how it is written for people."""

from __future__ import annotations

import json
import re

KeyPath = tuple[str | int, ...]

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST = 80


def written(path: KeyPath) -> str:
    """
    Write a path as `deployments.mini.price.input`, `models["gpt-4.1"].targets[0]`.

    Names with anything but letters, digits, `_` and `-` are quoted, escaped and cut after 80 characters.
    """
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _PLAIN.fullmatch(step) and len(step) <= _LONGEST:
            parts.append(f".{step}" if parts else step)
        else:
            name = step if len(step) <= _LONGEST else f"{step[:_LONGEST]}…"
            parts.append(f"[{json.dumps(name)}]")
    return "".join(parts)
