"""Secrets of the user's: referred to everywhere, read only by whoever needs one, and only into memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

_MAX_BYTES = 8192
_MAX_DOCUMENT = 65_536


class SecretRef(msgspec.Struct, frozen=True):
    """Where a secret is found: the name of an environment variable or the path of a file; exactly one is set."""

    env: str | None = None
    file: str | None = None


class SecretMissing(ValueError):
    """A secret is not there, is empty or unusable; the message names the reference, never a value."""


def resolve(reference: SecretRef, environ: Mapping[str, str]) -> str:
    """
    Return the secret's value: one line of printable ASCII.

    Raises:
        SecretMissing: see there.
    """
    if reference.env is not None:
        value, where = environ.get(reference.env, ""), f"the environment variable {reference.env}"
    else:
        path = Path(reference.file or "")
        where = f"the file {path}"
        try:
            value = path.read_text(encoding="ascii")[:_MAX_BYTES].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SecretMissing(f"{where} cannot be read") from error
    if not value or not value.isascii() or not value.isprintable():
        raise SecretMissing(f"{where} is empty or unusable")
    return value


def document(reference: SecretRef, environ: Mapping[str, str]) -> bytes:
    """
    Return a secret that is a text of several lines, such as a key file; at most 64 KiB.

    Raises:
        SecretMissing: see there.
    """
    if reference.env is not None:
        content, where = environ.get(reference.env, "").encode(errors="replace"), f"the variable {reference.env}"
    else:
        path = Path(reference.file or "")
        where = f"the file {path}"
        try:
            with path.open("rb") as opened:
                content = opened.read(_MAX_DOCUMENT + 1)
        except OSError as error:
            raise SecretMissing(f"{where} cannot be read") from error
    if not content.strip() or len(content) > _MAX_DOCUMENT:
        raise SecretMissing(f"{where} is empty or too long")
    return content
