"""Tags in answers: on ids and sealed contents, and nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.dialects import events
from penstock.gateway.ownership.stamp import Stamp
from penstock.gateway.ownership.tags import Kind, Tags

TAGS = Tags(b"p" * 32)
THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}
SAID = {"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": "my encrypted_content is gAAAA"}]}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "previous_response_id": "resp_0",
    "output": [THOUGHT, SAID],
    "x": 1.50,
}


def stamp(*, stored: bool = True) -> Stamp:
    return Stamp(TAGS, "t", "a", stored=stored)


def sealed(content: str = "gAAAA") -> str:
    return TAGS.tagged(Kind.SEALED, "t", "a", content)


def expected(**changes: Any) -> dict[str, Any]:
    return {
        **RESPONSE,
        "id": TAGS.tagged(Kind.RESPONSE, "t", "a", "resp_1"),
        "previous_response_id": TAGS.tagged(Kind.RESPONSE, "t", "a", "resp_0"),
        "output": [{**THOUGHT, "encrypted_content": sealed()}, SAID],
        **changes,
    }


def test_a_response_gets_its_tags() -> None:
    assert json.loads(stamp().reply(json.dumps(RESPONSE).encode())) == expected()


def test_one_that_is_not_kept_has_no_name_to_go_on_from() -> None:
    assert json.loads(stamp(stored=False).reply(json.dumps(RESPONSE).encode())) == expected(id="resp_1")


def test_one_that_goes_on_from_none_repeats_none() -> None:
    body = json.dumps({**RESPONSE, "previous_response_id": None}).encode()
    assert json.loads(stamp().reply(body))["previous_response_id"] is None


def test_items_of_a_list_get_their_tags() -> None:
    listed = {"object": "list", "data": [THOUGHT, SAID], "has_more": False, "first_id": "rs_1"}
    wanted = {**listed, "data": [{**THOUGHT, "encrypted_content": sealed()}, SAID]}
    assert json.loads(stamp().listing(json.dumps(listed).encode())) == wanted


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"data":[{"type":"message"}]}', b'{"data":"encrypted_content"}'])
def test_what_has_nothing_sealed_keeps_its_bytes(body: bytes) -> None:
    assert stamp().listing(body) is body


def test_what_is_beside_keeps_its_bytes() -> None:
    body = b'{"id":"resp_1","big":1.50e3,"text":"\\u00e9","output":[ {"type" : "message"} ]}'
    tagged = TAGS.tagged(Kind.RESPONSE, "t", "a", "resp_1")
    assert stamp().reply(body) == body.replace(b"resp_1", tagged.encode())


@pytest.mark.parametrize("name", ["created", "queued", "in_progress", "completed", "failed", "incomplete"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_with_the_response_get_its_tags(name: str, end: str) -> None:
    data = {"type": f"response.{name}", "response": RESPONSE, "sequence_number": 3}
    event = f"event: response.{name}{end}data: {json.dumps(data)}{end}{end}".encode()
    out = stamp().event(event)
    assert out.startswith(b"event: response.%b\ndata: {" % name.encode())
    assert out.endswith(b"}\n\n")
    assert json.loads(events.data_of(out)) == {**data, "response": expected()}


def test_data_in_several_lines_becomes_one() -> None:
    out = stamp().event(b'data: {"type": "response.created", "response":\ndata: {"id":\ndata: "resp_1"}}\n\n')
    assert events.split(out) == [out]
    assert json.loads(events.data_of(out))["response"]["id"].startswith("resp_1-")


@pytest.mark.parametrize("name", ["added", "done"])
@pytest.mark.parametrize("kind", ["reasoning", "compaction"])
def test_sealed_items_get_their_tags(name: str, kind: str) -> None:
    data = {"type": f"response.output_item.{name}", "output_index": 0, "item": {**THOUGHT, "type": kind}}
    out = stamp().event(b"event: x\ndata: %b\n\n" % json.dumps(data).encode())
    item = json.loads(events.data_of(out))["item"]
    assert item == {**THOUGHT, "type": kind, "encrypted_content": sealed()}


@pytest.mark.parametrize(
    "event",
    [
        b': a comment with "response"\n\n',
        b'event: x\ndata: {"type":"response.output_text.done","text":"the \\"response\\" id"}\n\n',
        b'data: {"type":"response.output_item.done","item":{"type":"message","x":"encrypted_content"}}\n\n',
        b'data: {"type":"response.output_item.done","item":{"type":"mine","encrypted_content":"gAAAA"}}\n\n',
        b'data: {"type":"response.output_item.done","item":{"type":"reasoning","encrypted_content":null}}\n\n',
        b'data: {"response": "resp_1"}\n\n',
        b'data: {"response": {"id": 7}}\n\n',
        b'data: {"response": {"id": "resp_1"\n\n',
        b'data: {"response": {"id": "' + b"x" * 600 + b'"}}\n\n',
    ],
)
def test_other_events_pass_as_they_are(event: bytes) -> None:
    assert stamp().event(event) is event


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"output":[]}', b'{"id":null,"output":["encrypted_content"]}'])
def test_what_is_no_response_passes_as_it_is(body: bytes) -> None:
    assert stamp().reply(body) == body


WORDS = st.sampled_from(["id", "item", "output", "type", "response", "encrypted_content", "previous_response_id"])
JSON = st.recursive(
    st.none() | st.text() | st.integers() | st.booleans(),
    lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner),
    max_leaves=20,
)


@given(JSON)
def test_whatever_an_upstream_sends_nothing_breaks(value: Any) -> None:
    event = b"data: " + json.dumps({"response": value, "item": value}).encode() + b"\n\n"
    assert events.split(stamp().event(event))[0].endswith(b"\n\n")
    stamp().reply(json.dumps(value).encode())
