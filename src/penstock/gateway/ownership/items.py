"""
Sealed items of an input: what a model has thought, or a conversation has been condensed to, that only the account can
open in which it was made. And thoughts by their id alone, which the account looks up, whosever they are.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

import msgspec

from penstock.gateway.dialects.call import Call
from penstock.gateway.ownership.stamp import SEALED
from penstock.gateway.ownership.tags import Kind, Tags, split
from penstock.types.errors import InvalidRequest

_NAMED = frozenset({"message", "function_call", "custom_tool_call"})
"""Items that need no id. With one, OpenAI's API looks for the thoughts that belong to them."""

_MOST = 2000  # each is hashed once for each deployment of the model

Fields = dict[str, msgspec.Raw]
_decode = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_fields = msgspec.json.Decoder(Fields).decode
_encode = msgspec.json.Encoder().encode


class _Seen(msgspec.Struct):
    type: str = "message"
    encrypted_content: str | None = None


_see = msgspec.json.Decoder(_Seen).decode


class _Item(msgspec.Struct, frozen=True):
    """
    Attributes:
        json: without a tag.
        type: of one that has had a tag, else nothing.
        owner: who can open it; None where the tag names none of the model's deployments for this tenant.
        recalled: it is a thought by its id alone.
    """

    json: bytes
    type: str = ""
    owner: str | None = None
    recalled: bool = False


class Items:
    """
    The input of one exchange, item by item.

    Attributes:
        tagged: some of them have had tags, so that no upstream can be asked with the input as it came.
    """

    def __init__(self, items: list[_Item], *, tagged: bool) -> None:
        self._items = items
        self.tagged = tagged

    @classmethod
    def read(cls, call: Call, tags: Tags, tenant: str, owners: Collection[str]) -> Self | None:
        """
        Return the items of a call's input; None where none of them has a tag or is a thought by its id alone.

        Args:
            owners: the endpoints that may have made them, by name.
        Raises:
            InvalidRequest: there are more than 2,000 with tags.
        """
        items, tagged = list[_Item](), 0
        for position, item in enumerate(_decode(call.document.fields["input"])):
            if position in call.recalled:
                items.append(_Item(bytes(item), recalled=True))
                continue
            items.append(_read(bytes(item), tags, tenant, owners))
            tagged += bool(items[-1].type)
            if tagged > _MOST:
                raise InvalidRequest(f"the input has more than {_MOST} sealed items", param="input")
        return cls(items, tagged=tagged > 0) if tagged or call.recalled else None

    @property
    def home(self) -> str | None:
        """The endpoint that can open all of them that any can; None where there is no such one."""
        owners = {item.owner for item in self._items if item.owner is not None}
        return owners.pop() if len(owners) == 1 else None

    def for_owner(self, endpoint: str, *, references: bool) -> tuple[bytes, tuple[str, ...]]:
        """
        Return the input as JSON for an endpoint, and the names of what it could not open, which is left out.

        Args:
            references: its account's thoughts may be named by whoever uses it.
        Raises:
            InvalidRequest: that would be the conversation itself.
        """
        kept, left_out = list[bytes](), dict[str, None]()
        for position, item in enumerate(self._items):
            if item.recalled and not references:
                left_out["input.reasoning"] = None
            elif not item.type or item.owner == endpoint:
                kept.append(item.json)
            elif item.type == "compaction":
                raise InvalidRequest(
                    "A compaction can only be read where it was made; none of the deployments that can be asked has"
                    " made this one for you.",
                    param=f"input[{position}]",
                    code="invalid_encrypted_content",
                )
            else:
                left_out[f"input.{item.type}"] = None
        if left_out:
            kept = [_nameless(item) for item in kept]
        return b"[%b]" % b",".join(kept), tuple(left_out)


def _read(item: bytes, tags: Tags, tenant: str, owners: Collection[str]) -> _Item:
    try:
        seen = _see(item)
    except msgspec.DecodeError:  # whatever it is, it is not one of these
        return _Item(item)
    if seen.type not in SEALED or not split(Kind.SEALED, seen.encrypted_content or "")[1]:
        return _Item(item)
    content, owner = tags.owner(Kind.SEALED, tenant, owners, seen.encrypted_content or "")
    plain = _encode({**_decode_fields(item), "encrypted_content": content})
    return _Item(plain, seen.type, owner)


def _nameless(item: bytes) -> bytes:
    """Return an item without its id where it needs none, as the thoughts are missing that it would be known by."""
    try:
        if b'"id"' not in item or _see(item).type not in _NAMED:
            return item
        fields = _decode_fields(item)
    except msgspec.DecodeError:
        return item
    fields.pop("id", None)
    return _encode(fields)
