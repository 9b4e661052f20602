"""
The entry point `penstock`.

Commands raise `PenstockError` for what a person can act on; it ends here as one sentence on standard error and exit
code 1. Wrong usage ends in code 2, Ctrl-C in code 130. What a command needs beyond the standard library is imported
inside it, so that `penstock --help` is quick.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from penstock import __version__
from penstock.cli import (
    backup,
    chat,
    evaluate,
    hosts,
    imports,
    keys,
    lab,
    models,
    serve,
    stackfile,
    status,
    tenants,
    usage,
)
from penstock.cli.output import discard, text
from penstock.types.errors import PenstockError

_INTERRUPTED = 130  # what shells give a command that SIGINT has ended


class _Commands(TyperGroup):
    """The top of the command tree, where our errors become words."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the context's class has no public name."""
        try:
            return super().invoke(ctx)
        except PenstockError as error:
            print(f"Error: {text(str(error))}", file=sys.stderr)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            print("Interrupted.", file=sys.stderr)
            raise typer.Exit(_INTERRUPTED) from error


app = typer.Typer(
    cls=_Commands,
    help="Run language models in production: one gateway in front of every model, and what keeps it running.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"penstock {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """What all commands have in common."""


@app.command("version")
def version() -> None:
    """Print the version."""
    _print_version(True)


app.command()(serve.up)
app.command()(serve.gateway)
app.command()(serve.control)
app.command()(serve.node)
app.command()(stackfile.check)
app.command()(stackfile.schema)
app.command()(status.status)
app.command()(models.models)
app.command()(chat.chat)
app.command()(evaluate.evaluate)
app.command()(usage.usage)
app.command()(usage.explain)
app.command()(backup.backup)
app.command()(backup.restore)
app.add_typer(keys.app, name="keys")
app.add_typer(hosts.app, name="hosts")
app.add_typer(tenants.app, name="tenants")
app.add_typer(lab.app, name="lab")
app.add_typer(imports.app, name="import")


def main() -> None:
    """Run the command line and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 must not end a command
    try:
        try:
            app(prog_name="penstock")
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None:
            raise
        discard()
        if not isinstance(error, BrokenPipeError):  # whoever reads no further knows
            print(f"Error: the output cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)
