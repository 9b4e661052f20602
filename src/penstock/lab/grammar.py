"""
How orders are written: the short form `delay=200ms; cut_after=3` (`parse`), or a JSON object (`parse_json`).

Text carries units (`200ms`, `1.5s`, `20MiB`). What cannot be read is refused with one sentence that names the nearest
right word.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from penstock.lab.orders import DURATION, SIZE, Order, OrderError
from penstock.lab.units import parse_duration, parse_size


class _Field(msgspec.Struct, frozen=True):
    """How the text of one field is read: its unit, the words it may be, and its container."""

    unit: str | None
    choices: tuple[str, ...]
    container: Literal["one", "list", "map"]
    flag: bool


def _describe(hint: Any) -> _Field:
    unit: str | None = None
    choices: tuple[str, ...] = ()
    container: Literal["one", "list", "map"] = "one"
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return _describe(next(argument for argument in arguments if argument is not type(None)))
    if origin is Annotated:
        metas = [meta for meta in arguments[1:] if isinstance(meta, Meta)]
        unit = next((meta.extra["unit"] for meta in metas if meta.extra), None)
    elif origin is Literal:
        choices = arguments
    elif origin is tuple:
        container = "list"
    elif origin is dict:
        container = "map"
    return _Field(unit, choices, container, hint is bool)


FIELDS: typing.Final[dict[str, _Field]] = {
    name: _describe(hint) for name, hint in typing.get_type_hints(Order, include_extras=True).items()
}


def from_mapping(fields: dict[str, Any]) -> Order:
    """
    Build an order from values as JSON and YAML give them.

    Raises:
        OrderError: a field is unknown, or its value is not one it can have.
    """
    values: dict[str, Any] = {}
    for name, value in fields.items():
        field = FIELDS.get(name)
        if field is None:
            raise OrderError(f"unknown order `{name}`{nearest(name, FIELDS)}")
        values[name] = _value(name, field, value)
    try:
        return msgspec.convert(values, Order, strict=False)
    except msgspec.ValidationError as error:
        message = str(error)
        for name in values:
            if f"`$.{name}" in message:
                raise OrderError(f"order `{name}`: {message.split(' - at ', maxsplit=1)[0]}") from error
        raise OrderError(f"order: {message}") from error


def parse_json(text: str | bytes) -> Order:
    """
    Read an order from a JSON object.

    Raises:
        OrderError: the text is not a JSON object, or not an order.
    """
    try:
        fields = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise OrderError(f"an order in JSON must be one object: {error}") from error
    return from_mapping(fields)


def parse(text: str) -> Order:
    """
    Read an order from its short form, `name=value; name=value`.

    A name alone means `true`. Lists are separated by commas, `headers` are `name:value` separated by commas.

    Raises:
        OrderError: the text is not an order.
    """
    fields: dict[str, Any] = {}
    for part in text.split(";"):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name:
            if value or equals:
                raise OrderError(f"order `{part.strip()}` has no name in front of `=`")
            continue
        if name in fields:
            raise OrderError(f"order `{name}` is given twice")
        field = FIELDS.get(name)
        if field is None:
            raise OrderError(f"unknown order `{name}`{nearest(name, FIELDS)}")
        if not equals and not field.flag:
            raise OrderError(f"order `{name}` needs a value: `{name}=...`")
        fields[name] = _split(name, field, value) if equals else True
    return from_mapping(fields)


def _split(name: str, field: _Field, value: str) -> object:
    if field.container == "list":
        return [item.strip() for item in value.split(",")]
    if field.container == "map":
        pairs = [item.partition(":") for item in value.split(",")]
        if not all(colon for _, colon, _ in pairs):
            raise OrderError(f"order `{name}` is `name:value`, with commas between: not `{value}`")
        return {key.strip(): text.strip() for key, _, text in pairs}
    return value


def _value(name: str, field: _Field, value: object) -> object:
    if field.unit == DURATION and value is not None:
        try:
            return parse_duration(value)
        except ValueError as error:
            raise OrderError(f"order `{name}`: {error}") from error
    if field.unit == SIZE and isinstance(value, str):
        try:
            return parse_size(value)
        except ValueError as error:
            raise OrderError(f"order `{name}`: {error}") from error
    if field.choices and value is not None and value not in field.choices:
        words = ", ".join(str(choice) for choice in field.choices)
        raise OrderError(f"order `{name}` cannot be `{value}`, only one of {words}")
    if name == "retry_after" and isinstance(value, int | float):
        return str(value)
    return value


def nearest(word: str, words: Iterable[str]) -> str:
    """Return `, did you mean ...?` for a word that is near one of `words`, else nothing."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f", did you mean `{near[0]}`?" if near else ""
