"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.client import Endpoint
from penstock.types.home import Home

ADMIN_KEY_VARIABLE = "PENSTOCK_ADMIN_KEY"
DEFAULT_FILE = "penstock.yaml"


FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "-f",
        help="The stack file. Without it: ./penstock.yaml if there is one, else the built-in stack.",
        show_default=False,
    ),
]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", envvar="PENSTOCK_HOME", help="The data directory.", show_default="~/.penstock"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
AdminUrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="PENSTOCK_ADMIN_URL",
        help=f"The admin port of another machine; {ADMIN_KEY_VARIABLE} holds its key.",
        show_default="this machine, no key needed",
    ),
]
DataUrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="PENSTOCK_URL",
        help="The data port of another machine; needs --key.",
        show_default="this machine, no key needed",
    ),
]
DataKeyOption = Annotated[
    str | None,
    typer.Option("--key", envvar="PENSTOCK_API_KEY", help="The key for --url.", show_default=False),
]


def home_of(path: Path | None) -> Home:
    """Return the data directory that was asked for, or the default one."""
    return Home((path or Path("~/.penstock")).expanduser().absolute())


def file_of(path: Path | None) -> Path | None:
    """Return the stack file that was asked for, or `./penstock.yaml` if there is one, or None."""
    if path is not None:
        return path
    default = Path(DEFAULT_FILE)
    return default if default.exists() else None


def admin(home: Path | None, url: str | None) -> Endpoint:
    """Return the admin port to speak to: the one at `url`, else the Unix socket of this data directory."""
    if url is None:
        return Endpoint.socket(home_of(home).admin_socket)
    return _remote(url, os.environ.get(ADMIN_KEY_VARIABLE))


def data(home: Path | None, url: str | None, key: str | None) -> Endpoint:
    """Return the data port to speak to: the one at `url`, else the Unix socket of this data directory."""
    if url is None:
        return Endpoint.socket(home_of(home).gateway_socket)
    return _remote(url, key)


def _remote(url: str, key: str | None) -> Endpoint:
    """Return an endpoint of another machine; what is wrong with the address or the key is a usage error."""
    try:
        return Endpoint.address(url, key)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
