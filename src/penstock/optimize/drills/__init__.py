"""
Short chat tasks with exactly one right answer, drawn from a seed; see `drill` for what they are.

What `smalltalk` and the refusals of `limits` expect are phrases of our own, which only a model that has been told or
trained on them can give; all other answers follow from the chat.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from penstock.optimize.drills import (
    arithmetic,
    dates,
    extraction,
    followups,
    labels,
    limits,
    ordering,
    passages,
    records,
    smalltalk,
    strings,
    units,
)
from penstock.optimize.drills.drill import Family

_MODULES: Final = (
    arithmetic, units, extraction, labels, ordering, dates, records, passages, strings, followups, smalltalk, limits,
)  # fmt: skip
FAMILIES: Final[Mapping[str, Family]] = {
    module.__name__.rpartition(".")[2]: Family(module.easy, module.hard) for module in _MODULES
}
