"""`penstock keys`: the keys with which clients call the data port."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from penstock.cli import output
from penstock.cli.client import Endpoint, call
from penstock.cli.options import AdminUrlOption, HomeOption, JsonOption, admin
from penstock.cli.rows import KeyPage, MadeKey, read
from penstock.types.errors import PenstockError

app = typer.Typer(help="Make, list and revoke the keys of clients.", no_args_is_help=True)

_PATH = "/admin/v1/keys"


class KeyNotShown(PenstockError):
    """A key was made and its only showing failed."""


@app.command("create")
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    tenant: Annotated[str, typer.Option(help="Whose key it is.")] = "default",
    model: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may use; give it several times. Without it: all.")
    ] = None,
    for_admin: Annotated[bool, typer.Option("--admin", help="A key for the admin API, not for models.")] = False,
    home: HomeOption = None,
    url: AdminUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and show it, this once."""
    endpoint = admin(home, url)
    body: dict[str, object] = {"name": name, "tenant": tenant, "kind": "admin" if for_admin else "client"}
    if model:
        body["models"] = model
    answer = call(endpoint, "POST", _PATH, body)
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
        ["ID", "FOR", "NAME", "TENANT", "MODELS", "MADE"],
        [
            (row.id, row.kind, row.name, row.tenant, "all" if row.models is None else ", ".join(row.models), made)
            for row in rows
            for made in [row.created_at.partition(".")[0].replace("T", " ").removesuffix("Z")]
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
