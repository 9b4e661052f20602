"""Responses that the lab keeps: told again, listed, deleted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.lab import stored
from penstock.lab.dialects import responses
from penstock.lab.memory import MOST_REQUEST, Memory, Told
from penstock.lab.orders import Order
from penstock.types.errors import ExchangeError, InvalidRequest, MethodNotAllowed, ResponseNotFound, UnknownPath

PATH = "/v1/responses/resp_7"


def memory_of(**fields: Any) -> Memory:
    memory, body = Memory(), json.dumps({"model": "m", "input": "one two", **fields}).encode()
    asked = memory.recall(responses.read(body))
    memory.keep("resp_7", asked, Told(asked, Order(), "7", body))
    return memory


def ask(memory: Memory, path: str = PATH, method: str = "GET", query: str = "") -> bytes:
    stored.check(path, method)
    return b"".join(part.data for part in stored.answer(memory, path, method, query).parts)


@pytest.mark.parametrize("stream", [False, True])
def test_it_is_told_again_however_it_was_told_first(stream: bool) -> None:
    memory = memory_of(stream=stream)
    whole = json.loads(ask(memory))
    assert (whole["id"], whole["status"], whole["output"][0]["content"][0]["text"]) == (
        "resp_7", "completed", "echo: one two",
    )  # fmt: skip
    told = [json.loads(event.partition(b"data: ")[2]) for event in ask(memory, query="stream=true").split(b"\n\n")[:-1]]
    assert told[-1]["response"] == whole
    rest = ask(memory, query="stream=true&starting_after=3").split(b"\n\n")[:-1]
    assert [json.loads(event.partition(b"data: ")[2]) for event in rest] == told[4:]


def test_its_input_is_listed_latest_first() -> None:
    memory = memory_of(input=[{"role": "user", "content": "a"}, {"role": "user", "id": "mine", "content": "b"}])
    latest = json.loads(ask(memory, f"{PATH}/input_items", query="limit=1"))
    assert latest == {
        "object": "list",
        "data": [{"id": "mine", "type": "message", "role": "user", "content": "b"}],
        "has_more": True,
        "first_id": "mine",
        "last_id": "mine",
    }
    rest = json.loads(ask(memory, f"{PATH}/input_items", query="after=mine"))
    assert ([item["content"] for item in rest["data"]], rest["has_more"]) == (["a"], False)
    assert json.loads(ask(memory_of(), f"{PATH}/input_items"))["data"][0]["content"][0]["text"] == "one two"


def test_what_is_deleted_is_gone() -> None:
    memory = memory_of()
    assert json.loads(ask(memory, method="DELETE")) == {"id": "resp_7", "object": "response", "deleted": True}
    for method, path in (("GET", PATH), ("DELETE", PATH), ("POST", f"{PATH}/cancel")):
        with pytest.raises(ResponseNotFound):
            ask(memory, path, method)


@pytest.mark.parametrize(
    ("method", "path", "query", "error"),
    [
        ("POST", f"{PATH}/cancel", "", InvalidRequest),
        ("GET", f"{PATH}/input_items", "limit=0", InvalidRequest),
        ("GET", f"{PATH}/input_items", "limit=x", InvalidRequest),
        ("GET", "/v1/responses/resp_8", "", ResponseNotFound),
        ("POST", PATH, "", MethodNotAllowed),
        ("GET", f"{PATH}/other", "", UnknownPath),
    ],
)
def test_what_cannot_be_asked(method: str, path: str, query: str, error: type[ExchangeError]) -> None:
    with pytest.raises(error):
        ask(memory_of(), path, method, query)


def test_long_requests_are_not_kept() -> None:
    memory = memory_of(input="x" * MOST_REQUEST)
    with pytest.raises(ResponseNotFound):
        ask(memory)
    assert memory.recall(responses.read(b'{"model":"m","previous_response_id":"resp_7"}')).prompt_tokens == 1
