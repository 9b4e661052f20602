"""
Tags in answers of Responses: on the id of a response that is kept, and on what only its owner can open again.

Only the members that change are written anew; what stands beside them keeps its bytes. Deltas, which are nearly all
events, are not looked at.
"""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects import events
from penstock.gateway.dialects.call import MOST_ID
from penstock.gateway.ownership.tags import Kind, Tags

SEALED = frozenset({"reasoning", "compaction"})
"""Items with `encrypted_content`."""

Fields = dict[str, msgspec.Raw]
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder(Fields).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


class Stamp:
    """
    Puts tags into the answer to one attempt.

    Args:
        tenant: whose answer it is.
        owner: the endpoint that answers, by name. It keeps the response that this one goes on from, too.
        stored: the response is kept, as far as the request says.
    """

    __slots__ = ("_owner", "_stored", "_tags", "_tenant")

    def __init__(self, tags: Tags, tenant: str, owner: str, *, stored: bool) -> None:
        self._tags = tags
        self._tenant = tenant
        self._owner = owner
        self._stored = stored

    def reply(self, body: bytes) -> bytes:
        """Return a whole response with tags."""
        try:
            return self._response(body)
        except _UNREADABLE:
            return body

    def listing(self, body: bytes) -> bytes:
        """Return a list of items with tags on what is sealed."""
        try:
            fields = _decode(body)
            items = self._items(bytes(fields.get("data", b"")))
        except _UNREADABLE:
            return body
        return body if items is None else _encode({**fields, "data": items})

    def event(self, event: bytes) -> bytes:
        """Return an event with tags, if it tells of a response or of a sealed item."""
        if b'"response"' not in event and b"encrypted_content" not in event:
            return event
        try:
            fields = _decode(events.data_of(event))
            found = next((name for name in ("response", "item") if name in fields), None)
            if found is None:
                return event
            old = bytes(fields[found])
            new = self._response(old) if found == "response" else self._item(old)
        except _UNREADABLE:
            return event
        return event if new is old else events.with_data(event, _encode({**fields, found: msgspec.Raw(new)}))

    def _response(self, response: bytes) -> bytes:
        """Return a response with tags; the same object where nothing is to be tagged."""
        fields, changed = _decode(response), Fields()
        for member in ("id", "previous_response_id") if self._stored else ("previous_response_id",):
            name = _text(fields.get(member))
            if name and len(name) <= MOST_ID:
                tagged = self._tags.tagged(Kind.RESPONSE, self._tenant, self._owner, name)
                changed[member] = msgspec.Raw(_encode(tagged))
        output = self._items(bytes(fields.get("output", b"")))
        if output is not None:
            changed["output"] = output
        return _encode(fields | changed) if changed else response

    def _items(self, items: bytes) -> msgspec.Raw | None:
        """Return items with tags on what is sealed; None where nothing is."""
        if b"encrypted_content" not in items:
            return None
        return msgspec.Raw(b"[%b]" % b",".join(self._item(bytes(item)) for item in _decode_items(items)))

    def _item(self, item: bytes) -> bytes:
        """Return an item of the output, with a tag on what is sealed in it."""
        if b"encrypted_content" not in item:
            return item
        fields = _decode(item)
        content = _text(fields.get("encrypted_content"))
        if not content or _text(fields.get("type")) not in SEALED:
            return item
        tagged = self._tags.tagged(Kind.SEALED, self._tenant, self._owner, content)
        return _encode({**fields, "encrypted_content": msgspec.Raw(_encode(tagged))})


def _text(value: msgspec.Raw | None) -> str:
    """Return a member that is a text, else nothing."""
    if value is None or not bytes(value).startswith(b'"'):
        return ""
    return _decode_text(value)
