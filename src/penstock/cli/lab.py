"""`penstock lab`: tools for drills and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.options import JsonOption

app = typer.Typer(help="An upstream that misbehaves on order, for drills and tests.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `upstream` a command of its own while there is only one."""


@app.command("upstream")
def upstream(
    listen: Annotated[
        str, typer.Option(help="host:port or unix:/path; port 0 lets the system choose.")
    ] = "127.0.0.1:0",
    script: Annotated[Path | None, typer.Option(help="A YAML or JSON file that says how to answer.")] = None,
    api_key: Annotated[str | None, typer.Option(help="The bearer token to ask for under /v1/.")] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Serve an OpenAI-compatible API that delays, cuts, stalls or lies when a request or the script says so.

    It prints its address and runs until it is interrupted.
    """
    import uvloop

    from penstock.lab.upstream import run

    uvloop.run(run(listen, script, api_key, as_json=as_json))
