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
    host: Annotated[str, typer.Argument(metavar="HOST", help="Its id or its name, as `list` shows them.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: HomeOption = None,
    url: AdminUrlOption = None,
) -> None:
    """Forget a host that will not come again: what it had in progress is lost, and charged nothing."""
    endpoint = admin(home, url)
    known = read(endpoint, call(endpoint, "GET", _PATH), _Hosts).hosts
    meant = [row for row in known if row.id == host] or [row for row in known if row.name == host]
    if len(meant) != 1:
        what = "no host is called" if not meant else f"{len(meant)} hosts are called"
        raise typer.BadParameter(f"{what} {host!r}; `penstock hosts list` shows their ids", param_hint="HOST")
    if not yes:
        typer.confirm(f"What {meant[0].name} has not sent will be lost. Forget it?", abort=True)
    call(endpoint, "DELETE", f"{_PATH}/{quote(meant[0].id, safe='')}")
    output.note(f"The host {output.line(meant[0].name)} is forgotten.")


def _state(row: _Host) -> str:
    if row.own:
        return "here"
    return f"silent for {row.silent_s:.0f} s" if row.silent_s > _LATE_S else "reports"
