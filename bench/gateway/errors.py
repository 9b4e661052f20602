"""What can go wrong in a benchmark without being its own fault."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"https?://(?!127\.0\.0\.1)[^\s'\",)]+")
_DIRECTORIES = re.compile(r"(?<![\w:/])/(?:[\w.@+-]+/)+")
_LONGEST = 300


class Unavailable(Exception):
    """A gateway cannot be measured here; the message is a row of the report."""


def reason(text: str) -> str:
    """Return a message as it may stand in a report: one short line that tells nothing of where it was written."""
    line = " ".join(_DIRECTORIES.sub("…/", _ADDRESS.sub("…", text)).split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + " …"
