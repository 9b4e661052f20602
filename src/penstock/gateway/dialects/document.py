"""JSON bodies as bytes: checked whole, decoded only where a step acts on them, patched without re-encoding the rest."""

from __future__ import annotations

import re

import msgspec

from penstock.types.errors import InvalidRequest

_KEY = re.compile(rb'[ \t\r\n]*("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_GAP = re.compile(rb"[ \t\r\n]*([,}])")
# What msgspec calls a truncated input: a text that was cut within an emoji, say.
_HALF = re.compile(rb"(?<!\\)\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_key = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode

_MAX_FIELDS = 1000  # no API has so many; the walk for duplicates costs a microsecond each

Fields = dict[str, msgspec.Raw]


class Document(msgspec.Struct, frozen=True):
    """
    A JSON object as it was received.

    Attributes:
        body: all of it.
        fields: its top-level fields, each as the bytes it came in.
        compact: there are no blanks between the tokens of the top level and no escapes in its keys.
    """

    body: bytes
    fields: Fields
    compact: bool

    def patched(self, name: str, value: bytes) -> bytes:
        """Return the object with one of its fields exchanged for other JSON; the rest keeps its bytes and its order."""
        if self.compact:
            key = b'"%b":' % name.encode()
            old = key + bytes(self.fields[name])
            if self.body.count(old) == 1:  # so it is the one on the top level, and not one of some inner object
                return self.body.replace(old, key + value)
        return _encode({**self.fields, name: msgspec.Raw(value)})

    def exchanged(self, name: str, value: bytes) -> Document:
        """Return the document with one of its fields exchanged, as `patched`."""
        fields = {**self.fields, name: msgspec.Raw(value)}
        return Document(self.patched(name, value), fields, self.compact)

    def extended(self, changes: dict[str, object]) -> bytes:
        """Return the object with some fields exchanged or added; the others keep their bytes and their order."""
        return _encode({**self.fields, **changes})


def read(body: bytes) -> Document:
    """
    Split a JSON object into its top-level fields, each left as the bytes it came in.

    Raises:
        InvalidRequest: not UTF-8, not JSON, not an object, nested too deep, more than 1,000 top-level keys, or one of
            them twice.
    """
    if not body:
        raise InvalidRequest("the body is empty", code="invalid_json")
    try:
        if not body.isascii():
            body.decode()
        found = _decode_fields(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest("the body is not valid UTF-8", code="invalid_utf8") from error
    except msgspec.ValidationError as error:
        raise InvalidRequest("the body must be a JSON object", code="invalid_json") from error
    except msgspec.DecodeError as error:
        why = "a text has half of a surrogate pair, which is no character" if _HALF.search(body) else str(error)
        raise InvalidRequest(f"the body is not valid JSON: {why}", code="invalid_json") from error
    except RecursionError as error:
        raise InvalidRequest("the body is nested too deep", code="invalid_json") from error
    if len(found) > _MAX_FIELDS:
        raise InvalidRequest(f"the body has more than {_MAX_FIELDS} top-level fields", code="invalid_json")
    compact = _compact(body, found)
    if not compact:
        _refuse_duplicates(body, found)
    return Document(body, found, compact)


def _compact(body: bytes, found: Fields) -> bool:
    """
    Tell whether the fields account for every byte of the body.

    They do, but for an empty object, when a client writes no blanks between tokens, as official SDKs do; then no key
    can have come twice.
    """
    # To each field belong two quotes, a colon, and a comma or the closing brace.
    return 1 + 4 * len(found) + sum(map(len, found)) + sum(map(len, found.values())) == len(body)


def _refuse_duplicates(body: bytes, found: Fields) -> None:
    """Walk the keys of the top level. `found` has the last value of each key, so any other value is an earlier one."""
    seen: set[str] = set()
    position = body.index(b"{") + 1
    while match := _KEY.match(body, position):
        name = _decode_key(match[1])
        value = bytes(found[name])
        if name in seen or not body.startswith(value, match.end()):
            raise InvalidRequest(f"the key {name[:64]!r} comes twice", param=name[:64], code="duplicate_key")
        seen.add(name)
        gap = _GAP.match(body, match.end() + len(value))
        if gap is None or gap[1] == b"}":
            # Without a gap the value was only a prefix of what stands there: an earlier value of a repeated key.
            if gap is None:
                raise InvalidRequest(f"the key {name[:64]!r} comes twice", param=name[:64], code="duplicate_key")
            return
        position = gap.end()
