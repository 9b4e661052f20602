"""`penstock models`."""

from __future__ import annotations

from typing import Any

from penstock.cli import output
from penstock.cli.client import Endpoint, Refused, call
from penstock.cli.options import DataKeyOption, DataUrlOption, HomeOption, JsonOption, data


def models(
    home: HomeOption = None, url: DataUrlOption = None, key: DataKeyOption = None, as_json: JsonOption = False
) -> None:
    """List the models one can ask for."""
    rows = listed(data(home, url, key))
    if as_json:
        output.emit_json(rows)
        return
    output.emit_table(["MODEL", "OWNER"], [(row.get("id"), row.get("owned_by")) for row in rows])


def listed(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Return what `/v1/models` lists, in its order."""
    answer = call(endpoint, "GET", "/v1/models")
    rows = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refused(f"{endpoint.name} did not answer with a list of models", 200)
    return rows
