"""`penstock keys`: the keys with which clients call the data port, and people the admin API."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from penstock.cli import output
from penstock.cli.client import Endpoint, call
from penstock.cli.options import AdminUrlOption, HomeOption, JsonOption, admin
from penstock.cli.rows import KeyPage, MadeKey, read
from penstock.types.errors import PenstockError

app = typer.Typer(help="Make, list, rotate and revoke keys.", no_args_is_help=True)

_PATH = "/admin/v1/keys"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhd])")


class KeyNotShown(PenstockError):
    """A key was made and its only showing failed."""


@app.command("create")
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    tenant: Annotated[
        str | None, typer.Option(help="Whose key it is.", show_default="default; of an admin key all tenants")
    ] = None,
    user: Annotated[str | None, typer.Option(help="Which user's key it is, such as ann@example.com.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may use; give it several times. Without it: all.")
    ] = None,
    operation: Annotated[
        list[str] | None, typer.Option("--operation", help="chat, text_completion or embeddings. Without it: all.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option("--network", help="Where it is used from: 10.0.0.0/8. Without it: anywhere.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 30d, 12h, or a moment such as 2027-01-31.", show_default="never")
    ] = None,
    for_admin: Annotated[bool, typer.Option("--admin", help="A key for the admin API, not for models.")] = False,
    role: Annotated[
        str | None,
        typer.Option(
            help="admin, operator, auditor, developer, viewer or gateway; with --admin.", show_default="admin"
        ),
    ] = None,
    home: HomeOption = None,
    url: AdminUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and show it, this once."""
    if role is not None and not for_admin:
        raise typer.BadParameter("only an admin key has a role; add --admin", param_hint="--role")
    given = {
        "tenant": tenant,
        "user": user,
        "models": model or None,
        "operations": operation or None,
        "networks": network or None,
        "expires_at": None if expires is None else _moment(expires),
        "role": role,
    }
    body: dict[str, object] = {"name": name, "kind": "admin" if for_admin else "client"}
    body |= {field: value for field, value in given.items() if value is not None}
    endpoint = admin(home, url)
    _show(endpoint, call(endpoint, "POST", _PATH, body), as_json=as_json)


@app.command("rotate")
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id, as `penstock keys list` shows it.")],
    overlap: Annotated[str, typer.Option(help="For how long the old key stays valid: 24h, 0s.")] = "24h",
    home: HomeOption = None,
    url: AdminUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key in place of another and show it, this once. Limits, budgets and usage know the two as one."""
    body = {"overlap_s": _seconds(overlap, "--overlap")}
    endpoint = admin(home, url)
    _show(endpoint, call(endpoint, "POST", f"{_PATH}/{quote(key_id, safe='')}/rotate", body), as_json=as_json)


def _show(endpoint: Endpoint, answer: Any, *, as_json: bool) -> None:
    made = read(endpoint, answer, MadeKey)
    try:
        if as_json:
            output.emit_json(answer)
        else:
            print(output.line(made.key))
        sys.stdout.flush()
    except OSError as error:
        output.discard()
        key_id = output.line(made.id)
        raise KeyNotShown(
            f"the key {key_id} is made but could not be shown ({error.strerror}); "
            f"make it invalid with `penstock keys revoke {key_id}`"
        ) from error
    if not as_json:
        output.note(f"The key {output.line(made.id)} is made. It is shown this once; only a hash of it is kept.")
        if made.new_tenant:
            tenant = output.line(made.tenant)
            output.note(f"The tenant {tenant} is new and may use all models; `penstock tenants` changes that.")


def _moment(text: str) -> str:
    """Return a moment of that name, or so long from now, as the API takes it."""
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        pass
    if _DURATION.fullmatch(text) is None:
        raise typer.BadParameter(
            "must be a time such as 30d or 12h, or a moment such as 2027-01-31", param_hint="--expires"
        )
    try:
        return (datetime.now(UTC) + timedelta(seconds=_seconds(text, "--expires"))).isoformat()
    except OverflowError:
        raise typer.BadParameter("is too far away", param_hint="--expires") from None


def _seconds(text: str, option: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise typer.BadParameter("must be a time such as 30d, 12h, 10m or 0s", param_hint=option)
    return int(found[1]) * _UNITS[found[2]]


@app.command("list")
def list_keys(home: HomeOption = None, url: AdminUrlOption = None, as_json: JsonOption = False) -> None:
    """List the keys that are valid, without their secrets."""
    endpoint = admin(home, url)
    answers = list(_pages(endpoint))
    if as_json:
        output.emit_json({"keys": [row for answer in answers for row in answer["keys"]]})
        return
    rows = [row for answer in answers for row in read(endpoint, answer, KeyPage).keys]
    output.emit_table(
        ["ID", "FOR", "NAME", "TENANT", "MODELS", "MADE", "ENDS"],
        [
            (
                row.id,
                row.role or row.kind,
                row.name,
                "all" if row.tenant == "*" else row.tenant,
                "all" if row.models is None else ", ".join(row.models),
                _second(row.created_at),
                "-" if row.expires_at is None else _second(row.expires_at),
            )
            for row in rows
        ],
    )


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The id, as `penstock keys list` shows it.")],
    home: HomeOption = None,
    url: AdminUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key invalid, at once and for good."""
    call(admin(home, url), "DELETE", f"{_PATH}/{quote(key_id, safe='')}")
    if as_json:
        output.emit_json({"id": key_id, "revoked": True})
        return
    output.note(f"The key {output.line(key_id)} is revoked.")


def _second(moment: str) -> str:
    return moment.partition(".")[0].replace("T", " ").removesuffix("Z")


def _pages(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    """Yield the answers, page by page, until there are no more keys."""
    after: str | None = None
    while True:
        answer = call(endpoint, "GET", _PATH if after is None else f"{_PATH}?{urlencode({'after': after})}")
        page = read(endpoint, answer, KeyPage)
        yield answer
        if page.next is None or page.next == after:
            return
        after = page.next
