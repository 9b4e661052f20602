"""Fields that several dialects have in their requests: the values allowed, and what is said about others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

import msgspec

from penstock.types.errors import InvalidRequest

_MAX_MODEL = 256

Model = Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_MODEL)]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Alternatives = Annotated[int, msgspec.Meta(ge=0, le=20)]
"""How many of the likeliest tokens are listed beside each that was chosen."""
AnyObject = dict[str, msgspec.Raw]

_CAPS = {"max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict"}
_COUNTED = frozenset({"model", "stream", "stream_options", "n", "best_of", "n_cmpl", *_CAPS})
_FAULT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(\w+)`")


def invalid(error: msgspec.DecodeError) -> InvalidRequest:
    """Say what is wrong with which field, from msgspec's `Expected … - at `$.path``."""
    if not isinstance(error, msgspec.ValidationError):
        return InvalidRequest(f"the body is not valid JSON: {error}", code="invalid_json")
    text = str(error)
    missing = _MISSING.match(text)
    match = _FAULT.fullmatch(text)
    path = (match["path"] or "") if match else ""
    if missing:
        param = f"{path}.{missing[1]}" if path else missing[1]
        return InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    what = match["what"] if match else text
    return InvalidRequest(
        f"Invalid value for '{path}': {what[:1].lower()}{what[1:]}.", param=path, code="invalid_value"
    )


def refuse(names: Mapping[str, str | None], given: AnyObject) -> None:
    """
    Refuse fields that engines take for what limits and budgets count by, as some do in whatever case they are written.

    Args:
        names: of such fields; with each what to give instead, where there is something.
        given: the request's fields; null asks for nothing.

    Raises:
        InvalidRequest: one of them is given.
    """
    for name, instead in names.items():
        if name in given and bytes(given[name]) != b"null":
            raise unsupported(name, f"'{name}' is not supported" + (f"; use {instead}" if instead else ""))
    if not "".join(given).islower():
        _refuse_other_case(given)


def _refuse_other_case(given: AnyObject) -> None:
    for name in given:
        if name != name.lower() and name.lower() in _COUNTED:
            raise unsupported(name[:_MAX_MODEL], f"'{name[:_MAX_MODEL]}' is not supported; use {name.lower()}")


def unsupported(param: str, why: str) -> InvalidRequest:
    """Say that something cannot be asked for here; `why` is the sentence, without its full stop."""
    return InvalidRequest(f"{why}.", param=param, code="unsupported_parameter")
