"""What every section of `penstock.yaml` has in common, and how its lists are read."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from penstock.stack.reader import Unfit, shown


def default(value: object, description: str | None = None) -> Any:
    """Declare a field whose default is written, and read, like a value of the file."""
    return Field(default=value, validate_default=True, description=description)


class Section(BaseModel):
    """A mapping with known keys. A key without a value (`gateway:` and nothing below) counts as not written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    planned: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, data: object) -> object:
        if not isinstance(data, dict):
            raise Unfit(f"must be a mapping of keys, not {shown(data)}")
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


def at_most(limit: int) -> BeforeValidator:
    """Bound a list or mapping before its items are looked at."""

    def check(data: object) -> object:
        if isinstance(data, list | dict) and len(data) > limit:
            raise Unfit(f"has {len(data)} entries; at most {limit} are allowed")
        return data

    return BeforeValidator(check)


def one_as_list(data: object) -> object:
    """Read a word as a list of one."""
    return [data] if isinstance(data, str) else data


def distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse a list that names something twice."""
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise Unfit(f"{twice!r} is there twice")
    return names
