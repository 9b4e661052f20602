"""Readers of words: free text, names, choices."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal

from penstock.stack.reader import NOT_YET, PRINTABLE, Reader, Surroundings, Unfit, nearest, shown


def text(longest: int) -> Reader:
    """A line of text of 1 to `longest` characters."""

    def read(value: object, _around: Surroundings) -> str:
        if isinstance(value, int | Decimal):
            raise Unfit(f"must be text; put {shown(value)} in quotes")
        if not isinstance(value, str) or not value:
            raise Unfit("must be text, and not empty" if value == "" else f"must be text, not {shown(value)}")
        if len(value) > longest or not PRINTABLE.fullmatch(value):
            raise Unfit(f"must be one line of at most {longest} characters")
        return str(value)

    return Reader(read, {"type": "string", "minLength": 1, "maxLength": longest})


def name(pattern: str, rule: str) -> Reader:
    """A name of the user's choice, used as a key."""
    shape = re.compile(pattern)

    def read(value: object, _around: Surroundings) -> str:
        if not isinstance(value, str) or not shape.fullmatch(value):
            raise Unfit(f"a name {rule}")
        return value

    return Reader(read, {"type": "string", "pattern": f"^{pattern}$"})


def identifier(kind: str) -> Reader:
    """A name of the user's choice for a deployment or a policy."""
    letters = "1 to 63 of: lower-case letters, digits, '.', '_', '-'; it starts with a letter or digit"
    return name(r"[a-z0-9][a-z0-9._-]{0,62}", f"of a {kind} has {letters}")


def reference(kind: str) -> Reader:
    """The name of a deployment or a policy of this stack."""

    def read(value: object, around: Surroundings) -> str:
        if not isinstance(value, str):
            raise Unfit(f"must be the name of a {kind}, not {shown(value)}")
        known = around.names[kind]
        if value not in known:
            raise Unfit(f"there is no {kind} {shown(value)}{nearest(value, known)}")
        return str(value)

    return Reader(read, {"type": "string"})


def choice(*known: str, planned: Iterable[str] = (), otherwise: str = "") -> Reader:
    """
    One of a few words.

    Args:
        planned: words that the design has and this version has not.
        otherwise: what to do instead, added to the message about an unknown word.
    """
    later = frozenset(planned)

    def read(value: object, _around: Surroundings) -> str:
        if isinstance(value, str) and value in known:
            return str(value)
        if isinstance(value, str) and value in later:
            raise Unfit(f"{value!r} is {NOT_YET}; it has: {', '.join(known)}")
        hint = nearest(value, known) if isinstance(value, str) else ""
        raise Unfit(f"must be one of: {', '.join(known)}; not {shown(value)}{hint}{otherwise}")

    return Reader(read, {"type": "string", "enum": list(known)})
