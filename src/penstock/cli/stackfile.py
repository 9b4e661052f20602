"""`penstock check` and `penstock schema`: the stack file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli import output
from penstock.cli.options import FileOption, JsonOption, file_of

if TYPE_CHECKING:  # pydantic and yaml are loaded only by the commands that read a stack
    from penstock.stack.stack import Stack


def check(
    file: FileOption = None,
    effective: Annotated[
        bool, typer.Option("--effective", help="List every value in force and where it comes from.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge the stack file; say all that is wrong with it."""
    from penstock.stack.describe import describe_problems
    from penstock.stack.load import load
    from penstock.stack.problem import InvalidStack

    try:
        stack = load(file_of(file), os.environ, Path.cwd())
    except InvalidStack as error:
        if as_json:
            output.emit_json({"valid": False, "file": error.file, "problems": describe_problems(error.problems)})
        else:
            output.note(output.text(str(error)))
            output.note(f"{output.line(error.file)} is not valid: {_count(len(error.problems), 'problem')}")
        raise typer.Exit(1) from error
    if as_json:
        output.emit_json(_report(stack, effective=effective))
        return
    for warning in stack.warnings:
        output.note(f"Warning: {output.line(warning.written(stack.file))}")
    if effective:
        rows = [(value.path, "" if value.value is None else value.value, value.origin) for value in stack.effective]
        output.emit_table(["KEY", "VALUE", "FROM"], rows)
        return
    counts = f"{_count(len(stack.deployments), 'deployment')}, {_count(len(stack.models), 'model')}"
    print(f"{output.line(stack.file)} is valid: {counts}")


def schema() -> None:
    """Print the JSON Schema of the stack file, for editors."""
    from penstock.stack.schema import json_schema

    output.emit_json(json_schema())


def _report(stack: Stack, *, effective: bool) -> dict[str, Any]:
    from penstock.stack.describe import describe

    report = {"valid": True, **describe(stack), "deployments": list(stack.deployments), "models": list(stack.models)}
    if not effective:
        del report["values"]
    return report


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
