"""What pydantic found, in our words and with the lines of the file."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from penstock.stack.keypath import KeyPath
from penstock.stack.problem import Problem
from penstock.stack.reader import NOT_YET, shown, unknown
from penstock.stack.resolve import Resolved
from penstock.stack.schema import VARIANTS, section_at


def problems_of(error: ValidationError, resolved: Resolved) -> Iterator[Problem]:
    """Yield one problem per error, but none for a value that already has one (a variable that is not set)."""
    known = {problem.path for problem in resolved.problems}
    for detail in error.errors(include_url=False, include_input=True):
        if detail["type"] == "default_factory_not_called":
            continue  # it needed a value beside it that has an error of its own
        path = _path(detail["loc"], resolved)
        if _within(path, resolved) not in known:
            yield _problem(detail, path, resolved)


def _problem(detail: ErrorDetails, path: KeyPath, resolved: Resolved) -> Problem:
    kind = detail["type"]
    if path and path[-1] == "[key]":
        path = path[:-1]
        return Problem(path, resolved.key_lines.get(path), _sentence(detail))
    if kind == "extra_forbidden":
        return Problem(path, resolved.key_lines.get(path), _unknown(detail["loc"]))
    if kind == "missing":
        return Problem(path, _line(path[:-1], resolved), "is required")
    place = _within(path, resolved)
    return Problem(place, _line(place, resolved), _sentence(detail))


def _path(steps: KeyPath, resolved: Resolved) -> KeyPath:
    """Leave out the tags of the schema's variants, which are no keys of the file (unless the file has such a key)."""
    path: KeyPath = ()
    for step in steps:
        if step not in VARIANTS or (*path, step) in resolved.key_lines:
            path = (*path, step)
    return path


def _within(path: KeyPath, resolved: Resolved) -> KeyPath:
    """Return the path, or the nearest one around it that the file has (`chat: mini` has no `targets`)."""
    while path and path not in resolved.origins:
        path = path[:-1]
    return path


def _line(path: KeyPath, resolved: Resolved) -> int | None:
    """Return the line of a key; for what has none (an item of a list) that of the value."""
    if path in resolved.key_lines:
        return resolved.key_lines[path]
    return resolved.origins[path].line if path in resolved.origins else None


def _unknown(steps: KeyPath) -> str:
    section = section_at(steps[:-1])
    assert section is not None
    key = str(steps[-1])
    if key in section.planned:
        return NOT_YET
    return unknown(key, section.model_fields)


def _sentence(detail: ErrorDetails) -> str:
    """Say what is wanted. Our own readers say it themselves; the rest is about the wrong kind of value."""
    if detail["type"] == "value_error":
        return str(detail.get("ctx", {})["error"])
    if detail["type"] == "dict_type":
        return f"must be a mapping of names, not {shown(detail['input'])}"
    if detail["type"] in {"tuple_type", "list_type"}:
        return f"must be a list, not {shown(detail['input'])}"
    return detail["msg"]
