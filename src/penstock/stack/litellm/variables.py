"""Where secrets go that stand in the source: variables of the environment, named here. The secrets go nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count

_NOT_IN_NAMES = re.compile(r"[^A-Z0-9]+")


class Variables:
    """Names one variable for each secret. Used once."""

    def __init__(self, taken: Iterable[str]) -> None:
        """Take the variables that the source refers to; none of them is given to a secret."""
        self._taken = set(taken)
        self._names: dict[str, str] = {}

    def holding(self, secret: str, owner: str, ending: str = "API_KEY") -> str:
        """Return the variable for a secret: `GPT_4O_API_KEY` after its first owner `gpt-4o`; equal ones share it."""
        if secret not in self._names:
            stem = _NOT_IN_NAMES.sub("_", owner.upper()).strip("_") or "MODEL"
            stem = f"_{stem}" if stem[0].isdigit() else stem
            numbered = (f"{stem}_{ending}" + (f"_{number}" if number > 1 else "") for number in count(1))
            name = next(name for name in numbered if name not in self._taken)
            self._taken.add(name)
            self._names[secret] = name
        return self._names[secret]
