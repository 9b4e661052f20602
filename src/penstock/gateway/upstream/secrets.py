"""Secret references resolved to values, in the gateway alone and only in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.snapshot.config import SecretRef
from penstock.types.errors import NoCapacity

_MAX_BYTES = 8192


def resolve(reference: SecretRef, environ: Mapping[str, str]) -> str:
    """
    Return the secret's value.

    Raises:
        NoCapacity: it is not there, empty, or not usable in a header; the message names the reference, never a value.
    """
    if reference.env is not None:
        value, where = environ.get(reference.env, ""), f"the environment variable {reference.env}"
    else:
        path = Path(reference.file or "")
        where = f"the file {path}"
        try:
            value = path.read_text(encoding="ascii")[:_MAX_BYTES].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NoCapacity(f"the deployment's credential cannot be read from {where}") from error
    if not value or not value.isascii() or not value.isprintable():
        raise NoCapacity(f"the deployment's credential is missing: {where} is empty or unusable")
    return value
