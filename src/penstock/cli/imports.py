"""`penstock import`: stacks from the files of other gateways."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli import output
from penstock.cli.options import JsonOption
from penstock.types.errors import PenstockError

if TYPE_CHECKING:  # yaml is loaded only by the commands that read a file
    from penstock.stack.litellm.convert import Imported

app = typer.Typer(help="Turn the configuration of another gateway into a stack file.", no_args_is_help=True)


class NotWritten(PenstockError):
    """The stack file cannot be written, or is there already."""


@app.callback()
def _group() -> None:
    """Keep `litellm` a command of its own while there is only one."""


@app.command("litellm")
def litellm(
    file: Annotated[Path, typer.Argument(help="The configuration of LiteLLM's proxy, such as config.yaml.")],
    to: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write the stack file.", show_default="standard output"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the stack file if it is there.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End in exit code 1 when something was left out.")] = False,
    as_json: JsonOption = False,
) -> None:
    """
    Turn a LiteLLM configuration into a stack file, and list what it could not carry over.

    Keys that stand in the configuration are not copied: the stack names an environment variable for each.
    """
    from penstock.stack.litellm import writer
    from penstock.stack.litellm.convert import convert
    from penstock.stack.litellm.document import parse
    from penstock.stack.load import read

    imported = convert(parse(read(Path.cwd() / file, str(file)), str(file)), str(file))
    text = writer.text(imported, file.name)
    if to is not None:
        _write(to, text, replace=force)
    if as_json:
        notes = [note.described() for note in imported.notes]
        stack = writer.plain(imported.stack)
        output.emit_json({"file": str(file), "stack": stack, "notes": notes, "left_out": imported.left_out})
    else:
        if to is None:
            print(text, end="")
        for note in imported.notes:
            output.note(output.line(note.written(str(file))))
        output.note(output.line(_summary(imported, file, to)))
    if strict and imported.left_out:
        raise typer.Exit(1)


def _summary(imported: Imported, file: Path, to: Path | None) -> str:
    counts = ", ".join(f"{section}: {len(imported.stack.get(section, ()))}" for section in ("deployments", "models"))
    place = str(file) if to is None else f"{to}, from {file}"
    remarks = len(imported.notes) - imported.left_out
    return f"{place}: {counts}, notes: {remarks}, left out: {imported.left_out}"


def _write(to: Path, text: str, *, replace: bool) -> None:
    """Write the stack file; one that is there stays as it is unless it may be replaced."""
    try:
        with to.open("w" if replace else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise NotWritten(f"{to} exists; --force replaces it") from None
    except OSError as error:
        raise NotWritten(f"{to} cannot be written: {error.strerror}") from error
