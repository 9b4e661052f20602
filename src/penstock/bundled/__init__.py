"""Models that ship inside the package, named `bundled:NAME` in a stack file; `README.md` here is their card."""

from pathlib import Path

_FILES = {"mini": "mini.gguf"}


def path(name: str) -> Path:
    """
    The weights of `bundled:NAME`, as a GGUF file on disk.

    Raises:
        LookupError: no model of that name is bundled; the message lists those that are.
    """
    if name not in _FILES:
        raise LookupError(f"no bundled model {name!r}; there is: {', '.join(sorted(_FILES))}")
    return Path(__file__).with_name(_FILES[name])
