"""What is asked of a response that the lab keeps: it again, its input, to cancel or to delete it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, unquote

import msgspec

from penstock.lab.answer import Answer, Part, answer_to, plain
from penstock.lab.dialects import responses
from penstock.lab.memory import Memory, Told
from penstock.types.errors import InvalidRequest, MethodNotAllowed, UnknownPath

PATH = "/v1/responses/"
_METHODS = {"": ("GET", "DELETE"), "cancel": ("POST",), "input_items": ("GET",)}
_SEALS = "reasoning.encrypted_content"
_MOST_ITEMS, _USUAL_ITEMS = 100, 20
_encode = msgspec.json.encode


class _Numbered(msgspec.Struct):
    sequence_number: int


class _Request(msgspec.Struct):
    input: str | list[dict[str, object]] = ""


def check(path: str, method: str) -> None:
    """
    Refuse what cannot be asked.

    Raises:
        UnknownPath: there is no such path.
        MethodNotAllowed: not by this method.
    """
    methods = _METHODS.get(path.removeprefix(PATH).partition("/")[2])
    if methods is None:
        raise UnknownPath(f"The lab has no {path}.")
    if method not in methods:
        raise MethodNotAllowed(f"{path} is for {methods[0]}.", allow=", ".join(methods))


def answer(memory: Memory, path: str, method: str, query: str) -> Answer:
    """
    Answer what is asked of a response; `check` has let it pass.

    Raises:
        ResponseNotFound: there is none by this id.
        InvalidRequest: it cannot be cancelled, since it has ended; or the query is wrong.
    """
    name, _, what = path.removeprefix(PATH).partition("/")
    name, given = unquote(name), parse_qs(query)
    told = memory.told(name)
    if what == "cancel":
        raise InvalidRequest("Cannot cancel a synchronous response.")
    if what == "input_items":
        return plain(200, _encode(_page(_items(told), given)))
    if method == "DELETE":
        memory.forget(name)
        return plain(200, _encode({"id": name, "object": "response", "deleted": True}))
    seals = _SEALS in (*given.get("include", ()), *given.get("include[]", ()))
    asked = msgspec.structs.replace(
        told.asked, stream=given.get("stream") == ["true"], seal=memory.seal if seals else ""
    )
    again = answer_to(responses.DIALECT, asked, msgspec.structs.replace(told.order, status=200), told.number)
    if not asked.stream or "starting_after" not in given:
        return again
    return msgspec.structs.replace(again, parts=_after(again.parts, _number(given, "starting_after", 0)))


def _after(parts: Iterator[Part], number: int) -> Iterator[Part]:
    """Yield the events behind the one with this number."""
    for part in parts:
        data = part.data.partition(b"data: ")[2]
        if msgspec.json.decode(data, type=_Numbered).sequence_number > number:
            yield part


def _items(told: Told) -> list[dict[str, object]]:
    """Return the input of a response as a list, in which each item has an id."""
    said = msgspec.json.decode(told.request, type=_Request).input
    if isinstance(said, str):
        said = [{"role": "user", "content": [{"type": "input_text", "text": said}]}]
    return [{"id": f"msg_{told.number}_{number}", "type": "message", **item} for number, item in enumerate(said)]


def _page(items: list[dict[str, object]], given: dict[str, list[str]]) -> dict[str, object]:
    """Return those of the items that are asked for, the last ones first unless `order=asc`."""
    limit = _number(given, "limit", _USUAL_ITEMS)
    if not 1 <= limit <= _MOST_ITEMS:
        raise InvalidRequest(f"limit is a number from 1 to {_MOST_ITEMS}.", param="limit", code="invalid_value")
    if given.get("order") != ["asc"]:
        items.reverse()
    names = [item["id"] for item in items]
    after = given.get("after", [""])[0]
    start = names.index(after) + 1 if after in names else 0
    page = items[start : start + limit]
    ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
    return {"object": "list", "data": page, "has_more": start + limit < len(items), **ends}


def _number(given: dict[str, list[str]], name: str, usual: int) -> int:
    try:
        return int(given[name][0]) if name in given else usual
    except ValueError as error:
        raise InvalidRequest(f"{name} is a number.", param=name, code="invalid_value") from error
