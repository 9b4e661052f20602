"""Every value in force, those that nobody wrote included, with where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

import msgspec
from pydantic import BaseModel

from penstock.auth.secrets import SecretRef
from penstock.stack import url
from penstock.stack.cloud import Cloud
from penstock.stack.keypath import KeyPath, written
from penstock.stack.prices import Priced
from penstock.stack.resolve import Origin, OriginKind
from penstock.stack.units import Duration, Share, Size
from penstock.types.address import Address

Plain = str | int | None

_DEFAULT = Origin(OriginKind.DEFAULT)


class Effective(msgspec.Struct, frozen=True):
    """
    One value in force.

    Attributes:
        path: its place, as `penstock.stack.keypath.written` writes it.
        value: as it would be written in the file, with units and absolute paths; a secret is its reference.
    """

    path: str
    value: Plain
    origin: Origin


def effective(
    root: BaseModel, origins: Mapping[KeyPath, Origin], prices: Mapping[str, Priced]
) -> tuple[Effective, ...]:
    """List the values of a checked stack in the order of the schema, prices that are known otherwise among them."""
    found = []
    for path, value, given in _leaves(root, (), given=True):
        origin = _origin(path, origins) if given else _DEFAULT
        if value is None and path[0] == "deployments" and path[2:3] == ("price",):
            priced = prices[str(path[1])]
            value = priced.usd(path[3:])  # noqa: PLW2901  # what is in force is not what was written
            origin = _DEFAULT if value is None or priced.entry is None else Origin(OriginKind.BOOK, priced.entry.where)
        found.append(Effective(written(path), _plain(value), origin))
    return tuple(found)


def _leaves(value: object, path: KeyPath, *, given: bool) -> Iterator[tuple[KeyPath, object, bool]]:
    if isinstance(value, BaseModel):
        for key in type(value).model_fields:
            if isinstance(value, Cloud) and key in Cloud.model_fields and getattr(value, key) is None:
                continue  # it is another provider's
            set_here = given and key in value.model_fields_set
            yield from _leaves(getattr(value, key), (*path, key), given=set_here)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, (*path, key), given=given)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index), given=given)
    else:
        yield path, value, given


def _origin(path: KeyPath, origins: Mapping[KeyPath, Origin]) -> Origin:
    """Return the origin of a value, or of the shorthand it was written in (`chat: mini`)."""
    while path:
        if path in origins:
            return origins[path]
        path = path[:-1]
    return _DEFAULT


def _plain(value: object) -> Plain:
    if isinstance(value, Address):
        return url.written(value)
    if isinstance(value, SecretRef):
        return f"${{{value.env}}}" if value.env is not None else f"file:{value.file}"
    if isinstance(value, Decimal):
        return format(value, "f")
    if value is None or (isinstance(value, int) and not isinstance(value, Duration | Share | Size)):
        return value
    return str(value)
