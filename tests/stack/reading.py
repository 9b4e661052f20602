"""Reads stack text the way the product does, from bytes, without a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from penstock.stack.load import parse
from penstock.stack.problem import InvalidStack
from penstock.stack.stack import Stack

DIRECTORY = Path("/srv/stack")


def read(text: str, environ: Mapping[str, str] | None = None) -> Stack:
    return parse(dedent(text).encode(), DIRECTORY / "penstock.yaml", "penstock.yaml", environ or {})


def refused(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the lines of the refusal without the file's name: `12: deployments.mini.replica: unknown key`."""
    with pytest.raises(InvalidStack) as caught:
        read(text, environ)
    lines = str(caught.value).splitlines()
    assert all(line.startswith("penstock.yaml:") for line in lines)
    return [line.removeprefix("penstock.yaml:").lstrip() for line in lines]
