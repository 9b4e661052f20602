"""Imports a LiteLLM configuration from text, and reads the stack that came out as the product does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

from penstock.stack.litellm import writer
from penstock.stack.litellm.convert import Imported, convert
from penstock.stack.litellm.document import parse
from penstock.stack.load import parse as load
from penstock.stack.stack import Stack

ADDRESS = "https://variable.example/v1"  # what most variables hold, as one may be an address
OTHERS = {
    "AWS_REGION_NAME": "us-west-2",
    "LOCATION": "europe-west4",
    "PROJECT": "acme-prod",
    "TENANT": "acme.example",
    "VERTEXAI_LOCATION": "us-central1",
    "VERTEXAI_PROJECT": "acme-prod",
}  # what no address can be


class Everything(Mapping[str, str]):
    """An environment in which every variable is set."""

    def __getitem__(self, name: str) -> str:
        return OTHERS.get(name, ADDRESS)

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def imported(text: str | bytes) -> Imported:
    content = text if isinstance(text, bytes) else dedent(text).encode()
    return convert(parse(content, "config.yaml"), "config.yaml")


def stack_of(found: Imported) -> Stack:
    """Read the stack file that an import writes; raises what the product would say about it."""
    text = writer.text(found, "config.yaml")
    return load(text.encode(), Path("/srv/penstock.yaml"), "penstock.yaml", Everything())


def told(found: Imported) -> list[str]:
    """Return the notes as they are printed, without the name of the file."""
    return [note.written("").replace(": :", ": ") for note in found.notes]


def left_out(found: Imported) -> list[str]:
    return [sentence.removeprefix("Left out: ") for sentence in told(found) if sentence.startswith("Left out")]
