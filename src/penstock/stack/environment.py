"""References to environment variables inside values: `${NAME}`, `${NAME:-default}`, `$$` for a dollar sign."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Self

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<inside>[^}]*)\}|(?P<stray>))")
_INSIDE = re.compile(rf"(?P<name>{_NAME})(?P<default>:-.*)?", re.DOTALL)
_WHOLE = re.compile(rf"\$\{{({_NAME})\}}|os\.environ/({_NAME})")
_PREFIX = re.compile(rf"os\.environ/({_NAME})")
_UNDECODED = re.compile("[\ud800-\udfff]")  # how Python hands on bytes that are not UTF-8


class FromEnvironment(str):
    """
    Text that holds the value of at least one environment variable, so that messages do not repeat it.

    Attributes:
        names: the variables it was read from, in order.
    """

    __slots__ = ("names",)

    names: tuple[str, ...]

    def __new__(cls, text: str, names: tuple[str, ...]) -> Self:
        """Join the text with the names of its variables."""
        value = super().__new__(cls, text)
        value.names = names
        return value


def expand(text: str, environ: Mapping[str, str]) -> str:
    """
    Replace the references in one value. What a variable holds is not looked into again.

    Returns:
        The text, as `FromEnvironment` when a variable was read. A default that was used comes from the file, so it
        does not count as read. `os.environ/NAME` as the whole value means `${NAME}`.
    Raises:
        ValueError: a variable is not set and has no default (it is named), or a reference is malformed.
    """
    if whole := _PREFIX.fullmatch(text):
        return FromEnvironment(_lookup(whole[1], environ), (whole[1],))
    names: list[str] = []

    def replaced(token: re.Match[str]) -> str:
        if token["dollar"]:
            return "$"
        if token["inside"] is None:
            raise ValueError("a reference is written ${NAME}, and a dollar sign is written $$")
        reference = _INSIDE.fullmatch(token["inside"])
        if reference is None:
            raise ValueError("a reference is written ${NAME} or ${NAME:-default}; a name has letters, digits and _")
        name, default = reference["name"], reference["default"]
        if default is not None:
            if "$" in default:
                raise ValueError(f"the default of ${{{name}}} is plain text; it cannot hold another reference")
            if not environ.get(name):
                return default[2:]
        names.append(name)
        return _lookup(name, environ)

    expanded = _TOKEN.sub(replaced, text)
    return FromEnvironment(expanded, tuple(names)) if names else expanded


def reference(text: str) -> str | None:
    """Return the variable's name when the whole text is one reference without a default, else None."""
    match = _WHOLE.fullmatch(text)
    return (match[1] or match[2]) if match else None


def _lookup(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None:
        raise ValueError(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
    if _UNDECODED.search(value):
        raise ValueError(f"the environment variable {name} does not hold valid UTF-8")
    return value
