"""Joining a control on another host: where it is, and the key for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli import output

if TYPE_CHECKING:  # loads the node, which only the commands that start one need
    from penstock.node.settings import Join
    from penstock.types.address import Address

KEY_VARIABLE = "PENSTOCK_JOIN_KEY"
_SHAPE = "an address is written https://host:8081 or http://host:8081"

JoinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--join",
        metavar="URL",
        envvar="PENSTOCK_JOIN",
        help="The admin port of a control on another host, such as https://control.example:8081. Give those that may "
        "take its place too.",
        show_default=False,
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help=f"A file with an admin key of the role gateway, for --join; without it {KEY_VARIABLE} holds it.",
        show_default=False,
    ),
]


def joined(urls: list[str] | None, key_file: Path | None) -> Join | None:
    """Return what was asked for; what is wrong with it is a usage error."""
    from penstock.node.settings import Join

    if not urls:
        if key_file is not None:
            raise typer.BadParameter("a key is for a control elsewhere; add --join", param_hint="--key-file")
        return None
    addresses = tuple(_address(url) for url in urls)
    return Join(addresses, _key(key_file))


def _address(url: str) -> Address:
    from penstock.stack.url import local, parse

    try:
        address = parse(url, Path.cwd())
    except ValueError as error:
        reason = str(error).replace("a base_url", "an address")
        sentence = _SHAPE if reason.startswith("an address is written") else reason
        raise typer.BadParameter(sentence, param_hint="--join") from error
    if address.unix is not None or address.path:
        raise typer.BadParameter(_SHAPE, param_hint="--join")
    if not address.tls and not local(address):
        output.note(
            f"Warning: {output.line(url)} is not encrypted: whoever can listen on the way gets the key and may "
            "join too; serve the admin port over TLS (admin.tls)."
        )
    return address


def _key(path: Path | None) -> str:
    try:
        key = path.read_text(errors="replace").strip() if path is not None else os.environ.get(KEY_VARIABLE, "").strip()
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}", param_hint="--key-file") from error
    if not key:
        place = f"{path} is empty" if path is not None else f"{KEY_VARIABLE} is not set"
        raise typer.BadParameter(
            f"{place}; on the host of control, `penstock keys create --name NAME --admin --role gateway` makes a key",
            param_hint="--join",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise typer.BadParameter("the key for control holds characters that no key has", param_hint="--join")
    return key
