"""The effective stack as plain data, for `penstock check --json` and `--effective`."""

from __future__ import annotations

from typing import Any

from penstock.stack.keypath import written
from penstock.stack.problem import Problem
from penstock.stack.stack import Stack


def describe(stack: Stack) -> dict[str, Any]:
    """Return every value in force with its origin, and the warnings, ready for JSON. Holds no secret."""
    return {
        "file": stack.file,
        "values": [{"path": item.path, "value": item.value, "origin": str(item.origin)} for item in stack.effective],
        "warnings": describe_problems(stack.warnings),
    }


def describe_problems(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    """Return the problems of an `InvalidStack`, or the warnings of a stack, ready for JSON."""
    return [{"path": written(problem.path), "line": problem.line, "sentence": problem.sentence} for problem in problems]
