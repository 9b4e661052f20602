"""`penstock usage` and `penstock explain`: what the ledger says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated
from urllib.parse import quote

import typer

from penstock.cli import output
from penstock.cli.client import Endpoint, call
from penstock.cli.options import AdminUrlOption, HomeOption, JsonOption, admin
from penstock.cli.rows import Explanation, Figures, RequestPage, Usage, read

_FIGURES = ("REQUESTS", "ERRORS", "INPUT TOKENS", "OUTPUT TOKENS", "USD")


def usage(home: HomeOption = None, url: AdminUrlOption = None, as_json: JsonOption = False) -> None:
    """Show what was asked and what it cost: in all, by key, by model."""
    endpoint = admin(home, url)
    answer = call(endpoint, "GET", "/admin/v1/usage")
    if as_json:
        output.emit_json(answer)
        return
    found = read(endpoint, answer, Usage)
    _table(["TOTAL"], [(("all",), found.totals)])
    print()
    _table(["KEY", "NAME"], [((row.key, row.name), row) for row in found.by_key])
    print()
    _table(["MODEL"], [((row.model,), row) for row in found.by_model])


def explain(
    request_id: Annotated[
        str | None, typer.Argument(help="The x-request-id of an answer; without it the latest exchanges are listed.")
    ] = None,
    home: HomeOption = None,
    url: AdminUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say why an exchange went as it did: key, route, deployment, price."""
    endpoint = admin(home, url)
    path = "/admin/v1/requests" if request_id is None else f"/admin/v1/requests/{quote(request_id, safe='')}"
    answer = call(endpoint, "GET", path)
    if as_json:
        output.emit_json(answer)
    elif request_id is None:
        _latest(read(endpoint, answer, RequestPage))
    else:
        _explain(endpoint, answer)


def _table(names: list[str], rows: Iterable[tuple[tuple[str, ...], Figures]]) -> None:
    cells = [(*name, row.requests, row.errors, row.input_tokens, row.output_tokens, row.cost_usd) for name, row in rows]
    output.emit_table([*names, *_FIGURES], cells, right=_FIGURES)


def _latest(page: RequestPage) -> None:
    output.emit_table(
        ["ID", "AT", "KEY", "MODEL", "DEPLOYMENT", "STATUS", "OUTCOME", "TOKENS", "USD"],
        [
            (row.id, row.at, row.key, row.model, row.deployment, row.status, row.outcome, tokens, row.cost_usd)
            for row in page.requests
            for tokens in [f"{row.input_tokens}+{row.output_tokens}"]
        ],
        right=("TOKENS", "USD"),
    )


def _explain(endpoint: Endpoint, answer: object) -> None:
    """Print what is known of an exchange, whatever this version of the API tells, then its decisions in order."""
    steps = read(endpoint, answer, Explanation).explanation
    assert isinstance(answer, dict)
    facts = {name: value for name, value in answer.items() if name != "explanation" and value not in (None, "")}
    width = max((len(output.line(name)) for name in facts), default=0)
    for name, value in facts.items():
        print(f"{output.line(name):<{width}}  {output.line(value)}")
    print()
    output.emit_table(["STEP", "DECISION"], [(step.step, step.decision) for step in steps])
