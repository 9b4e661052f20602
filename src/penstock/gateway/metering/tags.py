"""What a client says a call is for: `x-penstock-tags: team=search,env=prod`."""

from __future__ import annotations

import re
from functools import lru_cache

from penstock.types.errors import InvalidRequest

HEADER = "x-penstock-tags"
MOST = 8
_SHOWN = 100  # characters of what is wrong
_NAME, _VALUE = r"[A-Za-z0-9_.-]{1,32}", r"[A-Za-z0-9_.:/@+-]{1,64}"
_TAG = re.compile(f"[ \t]*({_NAME})=({_VALUE})[ \t]*")


@lru_cache(maxsize=1024)
def read(header: bytes) -> str:
    """
    Return the tags as they are kept: `env=prod,team=search`, by name.

    Raises:
        InvalidRequest: there are too many, one is not as it should be, or a name comes twice.
    """
    written = header.decode("latin-1").split(",")
    if len(written) > MOST:
        raise _invalid(f"has {len(written)} tags; at most {MOST} are allowed")
    found: dict[str, str] = {}
    for tag in written:
        match = _TAG.fullmatch(tag)
        if match is None:
            raise _invalid(
                f"must be name=value,name=value, not {tag.strip()[:_SHOWN]!r}: a name of 1 to 32 letters, digits, '_', "
                "'.' and '-', a value of 1 to 64 of these and ':', '/', '@', '+'"
            )
        if match[1] in found:
            raise _invalid(f"has the tag {match[1]!r} twice")
        found[match[1]] = match[2]
    return ",".join(f"{name}={found[name]}" for name in sorted(found))


def _invalid(what: str) -> InvalidRequest:
    return InvalidRequest(f"The header {HEADER} {what}.", param=HEADER, code="invalid_tags")
