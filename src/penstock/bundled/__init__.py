"""Models that ship inside the package, named `bundled:NAME` in a stack file; `NAME.md` here is the card of each."""

from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec


class Model(msgspec.Struct, frozen=True):
    """
    Attributes:
        path: the weights, as a GGUF file on disk.
        input_usd, output_usd: the price of a million tokens, which is what they cost the engine in CPU time
            (`make bench-exam`).
    """

    path: Path
    input_usd: Decimal
    output_usd: Decimal


_HERE: Final = Path(__file__).parent
MODELS: Final = {
    "mini": Model(_HERE / "mini.gguf", Decimal("0.00061"), Decimal("0.00082")),
    "base": Model(_HERE / "base.gguf", Decimal("0.0013"), Decimal("0.0026")),
}


def model(name: str) -> Model:
    """
    Return what is known of `bundled:NAME`.

    Raises:
        LookupError: no model of that name is bundled; the message lists those that are.
    """
    if name not in MODELS:
        raise LookupError(f"no bundled model {name!r}; there are: {', '.join(MODELS)}")
    return MODELS[name]
