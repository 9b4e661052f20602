"""What is wrong with a stack file: where, and in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.stack.keypath import KeyPath, written
from penstock.types.errors import StackError

_MOST_SHOWN = 50


class Problem(msgspec.Struct, frozen=True):
    """
    One thing that is wrong (or, as a warning, doubtful).

    Attributes:
        path: the key or value at fault; empty when it is the file as a whole.
        line: where it is, from 1; None when there is no line to point at.
        sentence: what is wrong, without any secret and without the value of an environment variable.
    """

    path: KeyPath
    line: int | None
    sentence: str

    def written(self, file: str) -> str:
        """Return `penstock.yaml:12: deployments.mini.replica: unknown key, did you mean 'replicas'?`."""
        place = file if self.line is None else f"{file}:{self.line}"
        key = written(self.path)
        return f"{place}: {key}: {self.sentence}" if key else f"{place}: {self.sentence}"


class InvalidStack(StackError):
    """
    A stack file that cannot be used, with everything that is wrong with it.

    Attributes:
        file: the file's name as the user gave it.
        problems: in the order of their lines; at least one.
    """

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        lines = [problem.written(file) for problem in self.problems[:_MOST_SHOWN]]
        if len(self.problems) > _MOST_SHOWN:
            lines.append(f"{file}: and {len(self.problems) - _MOST_SHOWN} more problems")
        super().__init__("\n".join(lines))
