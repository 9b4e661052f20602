"""Readers of places: files, weights, addresses, and where a secret is. None of them is opened."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from penstock import bundled
from penstock.auth.secrets import SecretRef
from penstock.stack import environment, listen, url
from penstock.stack.reader import NOT_YET, PRINTABLE, Reader, Surroundings, Unfit, shown

_OPERATION = re.compile(r"/(?:chat/completions|completions|responses|embeddings|messages)$")


class Weights(msgspec.Struct, frozen=True):
    """
    Attributes:
        path: the file, absolute.
        bundled: the name of the model, where it is one that ships with Penstock.
    """

    path: str
    bundled: str | None = None

    def __str__(self) -> str:
        return self.path if self.bundled is None else f"bundled:{self.bundled}"


def path() -> Reader:
    """The path of a file, absolute as a string; the file is not opened."""

    def read(value: object, around: Surroundings) -> str:
        return _absolute(value, around)

    return Reader(read, {"type": "string", "minLength": 1})


def _absolute(value: object, around: Surroundings) -> str:
    if not isinstance(value, str) or not value or not PRINTABLE.fullmatch(value):
        raise Unfit(f"must be the path of a file, not {shown(value)}")
    if value.startswith("~/") and around.home:
        return str(Path(around.home) / value[2:])
    return str(around.directory / value)


def weights() -> Reader:
    """`Weights`: `bundled:NAME` or a path; the file is not opened."""

    def read(value: object, around: Surroundings) -> Weights:
        if not isinstance(value, str):
            raise Unfit(f"must be bundled:NAME or the path of a file, not {shown(value)}")
        scheme, _, name = value.partition(":")
        if scheme in {"hf", "https", "http"}:
            raise Unfit(f"{scheme}: is {NOT_YET}; download the file and give its path")
        if scheme == "bundled":
            try:
                return Weights(str(bundled.model(name).path), bundled=name)
            except LookupError as error:
                raise Unfit(error.args[0]) from None
        return Weights(_absolute(value, around))

    return Reader(read, {"type": "string", "minLength": 1, "examples": ["bundled:mini", "models/qwen3-0.6b.gguf"]})


def address() -> Reader:
    """A `Listen` address."""

    def read(value: object, _around: Surroundings) -> listen.Listen:
        if isinstance(value, int) and not isinstance(value, bool):
            raise Unfit(f"an address has a host too, such as 127.0.0.1:{value}")
        if not isinstance(value, str) or not PRINTABLE.fullmatch(value):
            raise Unfit(f"must be an address such as 127.0.0.1:8080, not {shown(value)}")
        try:
            return listen.parse(value)
        except ValueError as error:
            raise Unfit(f"{error}; not {shown(value)}") from None

    return Reader(read, {"type": "string", "minLength": 1, "examples": ["127.0.0.1:8080", "[::1]:8080"]})


def base_url() -> Reader:
    """The `Address` of a provider."""

    def read(value: object, around: Surroundings) -> object:
        if not isinstance(value, str) or not PRINTABLE.fullmatch(value):
            raise Unfit("must be a URL such as https://api.openai.com/v1")
        address = url.parse(value, around.directory)
        if (match := _OPERATION.search(address.path)) is not None:
            raise Unfit(f"a base_url ends where the paths of the API begin: leave out {match[0]}")
        return address

    return Reader(read, {"type": "string", "minLength": 1, "examples": ["http://127.0.0.1:8000/v1", "unix:/path.sock"]})


_REFERENCE = r"(\$\{[A-Za-z_]\w*\}|os\.environ/[A-Za-z_]\w*|file:.+)"


def server(here: str, example: str) -> Reader:
    """Where the address of a server is, a `SecretRef` as it may hold a password; or a word for doing without one."""

    def read(value: object, around: Surroundings) -> SecretRef | str:
        if value == here:
            return here
        if isinstance(value, str) and "://" in value:  # not repeated, as it may hold a password
            raise Unfit(
                f"an address may hold a password and does not belong in this file: put it ({example}) in an "
                "environment variable and write ${NAME}, or in a file and write file:/path"
            )
        if value is None or (isinstance(value, str) and not value.startswith(("$", "file:", "os.environ/"))):
            raise Unfit(f"must be {here}, ${{NAME}} or file:/path")
        return _reference(value, around)

    return Reader(read, {"type": "string", "pattern": f"^({here}|{_REFERENCE})$", "examples": [here, "${NAME}"]})


def secret() -> Reader:
    """A `SecretRef`: where the secret is, never the secret. Gets the text with its reference unresolved."""
    return Reader(_reference, {"type": "string", "pattern": f"^{_REFERENCE}$"})


def _reference(value: object, around: Surroundings) -> SecretRef:
    if isinstance(value, str) and (variable := environment.reference(value)):
        return SecretRef(env=variable)
    if isinstance(value, str) and value.startswith("file:"):
        if "${" in value or value == "file:":
            raise Unfit("the path after file: is written out, such as file:/run/secrets/openai")
        return SecretRef(file=_absolute(value.removeprefix("file:"), around))
    if isinstance(value, str) and value.startswith("${") and ":-" in value:
        raise Unfit("a secret has no default; write ${NAME}")
    raise Unfit(
        "a secret does not belong in this file: put it in an environment variable and write ${NAME}, "
        "or in a file and write file:/path"
    )
