"""Decoding what a translation has to read, with the errors it owes: the client's for requests, else the upstream's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from penstock.gateway.dialects import events
from penstock.types.errors import InvalidRequest, UpstreamFailed, UpstreamUnusable

ABSENT = msgspec.Raw()
"""A field that is left as it came, where it did not come; written, it is left out."""

_T = TypeVar("_T")
_FAULT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_CHOSEN_BY = ("type", "role")  # fields that say of which kind an object is
_MAX_PARAM = 256
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def request(decode: Callable[[bytes], _T], body: bytes, where: str = "") -> _T:
    """
    Decode a request, or the part of it at `where`.

    Raises:
        InvalidRequest: it is not of the form; `unsupported_parameter` where it is of a kind that is not known.
    """
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        match = _FAULT.fullmatch(str(error))
        path = ".".join(filter(None, (where, (match["path"] or "") if match else "")))[:_MAX_PARAM]
        what = match["what"] if match else str(error)
        if path.rpartition(".")[2] in _CHOSEN_BY and what.startswith("Invalid value"):
            raise unsupported(path) from error
        raise malformed(path, what[:1].lower() + what[1:]) from error
    except _UNREADABLE as error:
        raise InvalidRequest("the body cannot be read as JSON", param=where or None, code="invalid_json") from error


def unsupported(param: str, why: str = "") -> InvalidRequest:
    """Return the refusal of what the upstream's dialect cannot express."""
    text = f"'{param}' cannot be translated for the upstream of this model{': ' if why else ''}{why}."
    return InvalidRequest(text, param=param, code="unsupported_parameter")


def malformed(param: str, why: str) -> InvalidRequest:
    """Return the refusal of what is not of the form that the client's own dialect has."""
    return InvalidRequest(f"Invalid value for '{param}': {why}.", param=param, code="invalid_value")


def reply(decode: Callable[[bytes], _T], body: bytes) -> tuple[_T, bytes]:
    """
    Decode a whole reply, and return it also as the bytes that could be read.

    Raises:
        UpstreamUnusable: it is not of the form.
    """
    try:
        return _decoded(decode, body)
    except msgspec.ValidationError as error:
        raise UpstreamUnusable("the upstream's reply is not of the form that its API has") from error
    except _UNREADABLE as error:
        raise UpstreamUnusable("the upstream's reply is not a JSON object") from error


def event(decode: Callable[[bytes], _T], data: bytes) -> _T:
    """
    Decode the data of an event.

    Raises:
        UpstreamFailed: it is not JSON, or not of the form.
    """
    try:
        return _decoded(decode, data)[0]
    except _UNREADABLE as error:
        raise UpstreamFailed("the upstream sent a malformed event") from error


def given(raw: msgspec.Raw) -> bool:
    """Tell whether a field that is left as it came is there, and not null."""
    return bool(raw) and bytes(raw) != b"null"


def is_object(text: bytes) -> bool:
    """Tell whether this is a JSON object."""
    try:
        _OBJECT(text)
    except _UNREADABLE:
        return False
    return True


def data_of(event: bytes) -> bytes:
    """Return an event's data, quickly where the event has a name and its data is on one line."""
    head, _, data = event.partition(b"\ndata: ")
    if data.endswith(b"\n\n") and data.count(b"\n") == 2 and b"\n" not in head and b"\r" not in event:
        return data[:-2] if head.startswith((b"event:", b"id:", b":")) else events.data_of(event)
    return events.data_of(event)


def _decoded(decode: Callable[[bytes], _T], text: bytes) -> tuple[_T, bytes]:
    if not text.isascii():
        text.decode()  # msgspec does not notice what is no UTF-8 in what it leaves undecoded
    try:
        return decode(text), text
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        mended = _mended(text)
        if not mended:
            raise
        try:
            return decode(mended), mended
        except msgspec.DecodeError:
            raise error from None


def _mended(text: bytes) -> bytes:
    """
    Return JSON in which half characters are U+FFFD; nothing where it is no JSON.

    Clients can read `"\\ud83d"`, which msgspec refuses.
    """
    try:
        whole = json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return b""
    return whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
