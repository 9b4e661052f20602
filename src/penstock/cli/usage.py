"""`penstock usage` and `penstock explain`: what the ledger says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from urllib.parse import quote, urlencode

import typer

from penstock.cli import output
from penstock.cli.client import Endpoint, call
from penstock.cli.options import AdminUrlOption, HomeOption, JsonOption, admin
from penstock.cli.rows import Explanation, Figures, RequestPage, Usage, read

_MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_BAR = 30  # characters of the longest bar
_FULL = "\N{FULL BLOCK}"  # the narrower ones follow it
_FIGURES = ("REQUESTS", "ERRORS", "INPUT TOKENS", "OUTPUT TOKENS", "USD")
_UNPRICED = "UNPRICED"  # a column that is there when it has to be


class By(StrEnum):
    """What usage can be told apart by."""

    DAY = "day"
    TENANT = "tenant"
    KEY = "key"
    MODEL = "model"
    DEPLOYMENT = "deployment"
    USER = "user"
    TAG = "tag"


def usage(
    by: Annotated[
        list[By] | None,
        typer.Option(help="What to list; may be given several times.", show_default="day, key and model"),
    ] = None,
    since: Annotated[datetime | None, typer.Option(formats=_MOMENTS, help="Arrived at or after, UTC.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_MOMENTS, help="Arrived before, UTC.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    key: Annotated[str | None, typer.Option(help="Only of this key, by its id.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    deployment: Annotated[str | None, typer.Option(help="Only what this deployment answered.")] = None,
    user: Annotated[str | None, typer.Option(help="Only of this user's keys: tenant/user.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only what has this tag: name=value.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Rows in each listing; the latest or dearest.")] = 30,
    home: HomeOption = None,
    url: AdminUrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was asked and what it cost: in all, by day as a plot, by tenant, user, key, model, deployment, tag."""
    endpoint = admin(home, url)
    given = {"since": since and since.isoformat(), "until": until and until.isoformat(), "tenant": tenant}
    given |= {"key": key, "model": model, "deployment": deployment, "user": user, "tag": tag, "limit": str(limit)}
    query = urlencode({name: value for name, value in given.items() if value is not None})
    answer = call(endpoint, "GET", f"/admin/v1/usage?{query}")
    if as_json:
        output.emit_json(answer)
        return
    found = read(endpoint, answer, Usage)
    show = _Tables(unpriced=found.totals.unpriced > 0)
    show.table(["TOTAL"], [(("all",), found.totals)])
    for each in by or (By.DAY, By.KEY, By.MODEL):
        print()
        match each:
            case By.DAY:
                show.plot(found.by_day)
            case By.TENANT:
                show.table(["TENANT"], [((row.tenant,), row) for row in found.by_tenant])
            case By.KEY:
                show.table(["KEY", "NAME"], [((row.key, row.name), row) for row in found.by_key])
            case By.MODEL:
                show.table(["MODEL"], [((row.model,), row) for row in found.by_model])
            case By.DEPLOYMENT:
                show.table(["DEPLOYMENT"], [((row.deployment,), row) for row in found.by_deployment])
            case By.USER:
                show.table(["USER"], [((row.user,), row) for row in found.by_user])
            case By.TAG:
                show.table(["TAG"], [((row.tag,), row) for row in found.by_tag])
    if found.totals.unpriced:
        print()
        output.note(
            f"The cost of {found.totals.unpriced} of these requests is not known and not in the sums; "
            "`penstock check` names the deployments without a price."
        )


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


class _Tables:
    """
    Prints figures.

    Args:
        unpriced: with the number of exchanges whose cost is not known.
    """

    def __init__(self, *, unpriced: bool) -> None:
        self._unpriced = unpriced
        self._names = (*_FIGURES, _UNPRICED) if unpriced else _FIGURES

    def table(self, names: list[str], rows: Iterable[tuple[tuple[str, ...], Figures]]) -> None:
        """Print a row for each name."""
        cells = [(*name, *self._cells(row)) for name, row in rows]
        output.emit_table([*names, *self._names], cells, right=self._names)

    def plot(self, days: Sequence[Figures]) -> None:
        """Print the days with a bar each: of what they cost, or of their requests where all was free."""
        free = not any(day.cost_nano for day in days)
        sizes = [day.requests if free else day.cost_nano for day in days]
        most = max(sizes, default=0)
        rows = [(row.day, *self._cells(row), _bar(size, most)) for row, size in zip(days, sizes, strict=True)]
        output.emit_table(["DAY", *self._names, f"{'REQUESTS' if free else 'USD'} BY DAY"], rows, right=self._names)

    def _cells(self, row: Figures) -> tuple[object, ...]:
        cells = (row.requests, row.errors, row.input_tokens, row.output_tokens, row.cost_usd)
        return (*cells, row.unpriced) if self._unpriced else cells


def _bar(size: int, most: int) -> str:
    """Return a bar in eighths of a character; what is there at all is seen."""
    eighths = max(1, _BAR * 8 * size // most) if size else 0
    whole, part = divmod(eighths, 8)
    return _FULL * whole + (chr(ord(_FULL) + 8 - part) if part else "")


def _latest(page: RequestPage) -> None:
    output.emit_table(
        ["ID", "AT", "KEY", "MODEL", "DEPLOYMENT", "STATUS", "OUTCOME", "TOKENS", "USD"],
        [
            (row.id, row.at, row.key, row.model, row.deployment, row.status, row.outcome, tokens, cost)
            for row in page.requests
            for tokens in [f"{row.input_tokens}+{row.output_tokens}"]
            for cost in ["unknown" if row.cost_usd is None else row.cost_usd]
        ],
        right=("TOKENS", "USD"),
    )


def _explain(endpoint: Endpoint, answer: object) -> None:
    """Print what is known of an exchange, whatever this version of the API tells, then its decisions in order."""
    steps = read(endpoint, answer, Explanation).explanation
    assert isinstance(answer, dict)
    facts = {name: value for name, value in answer.items() if name != "explanation" and value not in (None, "", {})}
    if answer.get("cost_usd", "") is None:
        facts["cost_usd"] = "unknown"
    if isinstance(answer.get("tags"), dict) and "tags" in facts:
        facts["tags"] = ", ".join(f"{name}={value}" for name, value in answer["tags"].items())
    width = max((len(output.line(name)) for name in facts), default=0)
    for name, value in facts.items():
        print(f"{output.line(name):<{width}}  {output.line(value)}")
    print()
    output.emit_table(["STEP", "DECISION"], [(step.step, step.decision) for step in steps])
