"""`penstock tenants`: who shares Penstock, and what each of them may use."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from penstock.cli import output
from penstock.cli.client import call
from penstock.cli.options import AdminUrlOption, HomeOption, JsonOption, admin
from penstock.cli.rows import TenantRow, TenantRows, read

app = typer.Typer(help="Make, list, change and suspend tenants.", no_args_is_help=True)

_PATH = "/admin/v1/tenants"
_Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Its name.")]
_Models = Annotated[
    list[str] | None,
    typer.Option("--model", help="A model that its keys may use at the most; give it several times. Without it: all."),
]


@app.command("list")
def list_tenants(home: HomeOption = None, url: AdminUrlOption = None, as_json: JsonOption = False) -> None:
    """List tenants."""
    endpoint = admin(home, url)
    answer = call(endpoint, "GET", _PATH)
    if as_json:
        output.emit_json(answer)
        return
    output.emit_table(
        ["TENANT", "MODELS", "STATE"],
        [
            (row.id, "all" if row.models is None else ", ".join(row.models), "suspended" if row.suspended_at else "-")
            for row in read(endpoint, answer, TenantRows).tenants
        ],
    )


@app.command("create")
def create(
    tenant: _Tenant,
    model: _Models = None,
    home: HomeOption = None,
    url: AdminUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a tenant. A key for one that there is not makes it too."""
    endpoint = admin(home, url)
    answer = call(endpoint, "POST", _PATH, {"id": tenant, **({"models": model} if model else {})})
    _tell(read(endpoint, answer, TenantRow), "is made", answer, as_json=as_json)


@app.command("models")
def models(
    tenant: _Tenant,
    model: _Models = None,
    home: HomeOption = None,
    url: AdminUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which models a tenant's keys may use at the most."""
    _change(tenant, {"models": model or None}, "is changed", home, url, as_json=as_json)


@app.command("suspend")
def suspend(tenant: _Tenant, home: HomeOption = None, url: AdminUrlOption = None, as_json: JsonOption = False) -> None:
    """Refuse all keys of a tenant, at once, until `resume`."""
    _change(tenant, {"suspended": True}, "is suspended", home, url, as_json=as_json)


@app.command("resume")
def resume(tenant: _Tenant, home: HomeOption = None, url: AdminUrlOption = None, as_json: JsonOption = False) -> None:
    """Let the keys of a suspended tenant in again."""
    _change(tenant, {"suspended": False}, "is let in again", home, url, as_json=as_json)


def _change(
    tenant: str, change: dict[str, object], done: str, home: HomeOption, url: AdminUrlOption, *, as_json: bool
) -> None:
    endpoint = admin(home, url)
    answer = call(endpoint, "PATCH", f"{_PATH}/{quote(tenant, safe='')}", change)
    _tell(read(endpoint, answer, TenantRow), done, answer, as_json=as_json)


def _tell(row: TenantRow, done: str, answer: object, *, as_json: bool) -> None:
    if as_json:
        output.emit_json(answer)
    else:
        output.note(f"The tenant {output.line(row.id)} {done}.")
