"""How each model is made: its shape, what it is taught, and for how long."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from penstock.optimize.drills.drill import Level


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model; widths in features, `context` in tokens. `width` is `heads` times an even number."""

    width: int
    layers: int
    heads: int
    hidden: int
    context: int = 2048
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True, slots=True)
class Recipe:
    """
    Attributes:
        levels: of the drills that are taught.
        exercises: steps that come before the first drill.
        steps: of the optimizer, exercises included; the last quarter of them with a falling learning rate.
        chats: conversations per step.
        rate: the learning rate between its rise and its fall.
    """

    shape: Shape
    levels: tuple[Level, ...]
    steps: int
    exercises: int = 1_200
    chats: int = 128
    rate: float = 3e-3


RECIPES: Final[Mapping[str, Recipe]] = {
    "mini": Recipe(Shape(width=96, layers=4, heads=3, hidden=256), ("easy",), steps=7_000),
    "base": Recipe(Shape(width=192, layers=6, heads=6, hidden=512), ("easy", "hard"), steps=9_000),
}
