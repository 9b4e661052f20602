"""
What requests name that an upstream's account keeps: files, containers, vector stores, connectors.

One account serves all tenants, and any of them could name what another has put there. Names of files are decoded with
the messages that they are in, however they are spelt, so that no body is looked through for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from penstock.gateway.dialects.fields import AnyObject
from penstock.types.errors import InvalidRequest

_INNER = ("file", "source", "content", "output")
_OF_TOOLS = frozenset({"vector_store_ids", "file_id", "file_ids", "container_id", "connector_id", "skill_id"})
_KINDS = ("function", "custom")  # of tools of the client's own, whose members mean what it likes
_OWN = frozenset(b'"%b"' % kind.encode() for kind in _KINDS)
_ABSENT = msgspec.Raw()
_NULL = b"null"
_TEXTS = frozenset({str, type(None)})
_MOST_PATH, _MOST_NAME = 200, 64
_MOST_VALUES = 100_000  # inside of an upstream's own tools, which have a few; each takes most of a microsecond


class Holder(msgspec.Struct, gc=False):
    """
    What may name a file: an item, or the part of one, with the members below which there may be more of them.

    Arguments of tools, citations and the like are not among these. Whatever else stands in a member passes,
    but for lists in lists.
    """

    file_id: msgspec.Raw = _ABSENT
    file: str | float | bool | list[str | float | bool | Part | None] | Part | None = None
    source: str | float | bool | list[str | float | bool | Part | None] | Part | None = None
    content: str | float | bool | list[str | float | bool | Part | None] | Part | None = None
    output: str | float | bool | list[str | float | bool | Part | None] | Part | None = None


class Part(Holder, gc=False):
    """One part of a message."""

    type: msgspec.Raw = _ABSENT


class Turn(Protocol):
    """A message of a chat as far as it is read: a text, or parts."""

    @property
    def content(self) -> str | Sequence[object] | None:
        """What it says."""


def in_turns(turns: Iterable[Turn]) -> str:
    """Return where the messages of a chat name a file, or nothing."""
    for position, turn in enumerate(turns):
        content = turn.content
        if content.__class__ is list:
            for part in content:
                if _holds(part):
                    if found := file_in(content, f"messages[{position}].content"):
                        return found
                    break  # all parts have been looked through
    return ""


def file_in(value: object, where: str) -> str:
    """
    Return where something names a file, or nothing.

    Args:
        value: decoded: an item, a part, or several.
        where: it stands.
    """
    left = [(where, value)]
    while left:
        where, value = left.pop()
        if isinstance(value, list):
            left.extend((_below(where, f"[{n}]"), each) for n, each in enumerate(value) if _holds(each))
        elif isinstance(value, Holder) and not (isinstance(value, Part) and _is_result(value)):
            if value.file_id and bytes(value.file_id) != _NULL:
                return f"{where}.file_id"
            inner = ((name, getattr(value, name)) for name in _INNER)
            left.extend((_below(where, f".{name}"), each) for name, each in inner if isinstance(each, list | Holder))
    return ""


def _holds(value: object) -> bool:
    """Tell whether something may name a file; nearly all parts are texts, and do not."""
    return isinstance(value, Holder) and not (
        not value.file_id
        and value.file is None
        and value.source is None
        and value.content.__class__ in _TEXTS
        and value.output.__class__ in _TEXTS
    )


def tools(given: Iterable[AnyObject]) -> str:
    """
    Return where tools that an upstream runs itself name what its account keeps, or nothing.

    Raises:
        InvalidRequest: a tool is nested too deep to be looked through, or they have more than 100,000 values.
    """
    seen = 0
    for position, tool in enumerate(given):
        if bytes(tool.get("type", b"")) in _OWN:
            continue
        opened = {name: _decoded(bytes(value)) for name, value in tool.items()}
        left: list[tuple[str, str, Any]] = [(f"tools[{position}]", "", opened)]
        while left:
            where, name, value = left.pop()
            if value and (name in _OF_TOOLS or (name == "container" and isinstance(value, str))):
                return where
            if isinstance(value, list | dict):
                seen += len(value)
                if seen > _MOST_VALUES:
                    raise InvalidRequest(f"tools have more than {_MOST_VALUES} values", param="tools")
            if isinstance(value, list):
                left.extend((where, "", each) for each in value)
            elif isinstance(value, dict) and value.get("type") not in _KINDS:
                left.extend((_below(where, f".{inner[:_MOST_NAME]}"), inner, each) for inner, each in value.items())
    return ""


def _below(where: str, step: str) -> str:
    """Return a path one step further, as far as anybody wants to read it."""
    return f"{where}{step}"[:_MOST_PATH]


def _is_result(part: Part) -> bool:
    """Tell whether a part is what a tool of the upstream's own has answered: what it names has been made for it."""
    return bytes(part.type).endswith(b'_tool_result"')


def _decoded(given: bytes) -> Any:
    try:
        return msgspec.json.decode(given)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest("the body is nested too deep", code="invalid_json") from error
