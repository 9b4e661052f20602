"""
How one value of the file is read.

A field of the schema is declared `workers: Annotated[int, quantity.whole(1, 64)]`. Its reader gets the plain value of
the file and returns the typed one, or raises `Unfit` with a sentence that says what is wanted. The readers are in
`quantity`, `word` and `place`. They accept numbers as text too, because that is what environment variables hold.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from penstock.stack.environment import FromEnvironment

NOT_YET = "not supported yet by this version of Penstock"
REFERENCE = {"type": "string", "pattern": r"\$\{|^os\.environ/"}  # for editors: the value may come from the environment
PRINTABLE = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]*")  # YAML escapes can write what no path or name may hold
_LONGEST_ECHO = 40
_MOST_COMPARED = 200


class Unfit(ValueError):
    """The value is not what its key wants; `str()` says what is. pydantic collects it like any `ValueError`."""


class Surroundings(msgspec.Struct, frozen=True):
    """
    What readers need to know besides the value itself; the validation context.

    Attributes:
        directory: absolute; relative paths in the file start here.
        home: what `~/` stands for, or None.
        names: of what may be referred to, well-formed or not, by its kind: `deployment`, `policy`.
    """

    directory: Path
    home: str | None
    names: Mapping[str, tuple[str, ...]]


class Reader:
    """Metadata of an annotation: reads one value of the file (see the module)."""

    def __init__(self, read: Callable[[Any, Surroundings], object], schema: Mapping[str, Any]) -> None:
        self._read = read
        self._schema = schema

    def __get_pydantic_core_schema__(self, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        def validate(value: object, info: ValidationInfo) -> object:
            assert isinstance(info.context, Surroundings)
            return self._read(value, info.context)

        return core_schema.with_info_plain_validator_function(validate)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self._schema)


def shown(value: object) -> str:
    """Write a value of the file into a message; what came from the environment is not repeated."""
    if isinstance(value, FromEnvironment):
        return f"what {' and '.join(value.names)} holds"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "nothing"
    text = str(value)
    text = text if len(text) <= _LONGEST_ECHO else f"{text[:_LONGEST_ECHO]}…"
    return repr(text) if isinstance(value, str) else text


def unknown(key: str, known: Iterable[str]) -> str:
    """Return what to say about a key that is not known: the one that is probably meant, or all that there are."""
    keys = sorted(known)
    if key.partition(":")[0] in keys:
        return f"unknown key; YAML wants a blank after the colon of {key.partition(':')[0]!r}"
    return "unknown key" + (nearest(key, keys) or f"; the keys here are: {', '.join(keys)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean 'x'?` for the known word nearest to this one, or nothing when none is near."""
    by_folded = {name.casefold().replace("-", "_"): name for name in islice(known, _MOST_COMPARED)}
    found = difflib.get_close_matches(word[:128].casefold().replace("-", "_"), by_folded, n=1)
    return f", did you mean {str(by_folded[found[0]])!r}?" if found else ""  # a word of an enumeration by its value
