"""`penstock hosts`: which hosts serve, and whether they are heard of."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import msgspec
import typer

from penstock.cli import output
from penstock.cli.client import call
from penstock.cli.options import AdminUrlOption, HomeOption, JsonOption, admin
from penstock.cli.rows import read

app = typer.Typer(help="List the hosts with gateways, and forget one that will not come again.", no_args_is_help=True)

_PATH = "/admin/v1/hosts"
_LATE_S = 10.0


class _Host(msgspec.Struct):
    id: str
    name: str
    version: str
    own: bool
    silent_s: float
    segments: int


class _Hosts(msgspec.Struct):
    hosts: list[_Host]


@app.command("list")
def list_hosts(home: HomeOption = None, url: AdminUrlOption = None, as_json: JsonOption = False) -> None:
    """List hosts."""
    endpoint = admin(home, url)
    answer = call(endpoint, "GET", _PATH)
    if as_json:
        output.emit_json(answer)
        return
    output.emit_table(
        ["HOST", "NAME", "VERSION", "STATE", "SEGMENTS"],
        [(row.id, row.name, row.version, _state(row), row.segments) for row in read(endpoint, answer, _Hosts).hosts],
    )


@app.command("forget")
def forget(
    host: Annotated[str, typer.Argument(metavar="HOST", help="Its id, as `list` shows it.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: HomeOption = None,
    url: AdminUrlOption = None,
) -> None:
    """Forget a host that will not come again: what it had in progress is lost, and charged nothing."""
    endpoint = admin(home, url)
    if not yes:
        typer.confirm(f"What {host} has not sent will be lost. Forget it?", abort=True)
    call(endpoint, "DELETE", f"{_PATH}/{quote(host, safe='')}")
    output.note(f"The host {output.line(host)} is forgotten.")


def _state(row: _Host) -> str:
    if row.own:
        return "here"
    return f"silent for {row.silent_s:.0f} s" if row.silent_s > _LATE_S else "reports"
