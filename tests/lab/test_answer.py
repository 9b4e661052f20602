"""What the lab answers, and every order about its content, as a client sees it."""

import base64
import json
import struct
from typing import Any

import pytest

from penstock.lab.dialects import chat as chats
from penstock.lab.instant import Instant
from penstock.lab.upstream import Upstream
from tests.lab.conftest import Run
from tests.lab.raw import Seen, ask, chat, get, texts


def choice(seen: Seen) -> Any:
    (only,) = seen.json["choices"]
    return only


def test_a_plain_answer_echoes_the_prompt_and_counts_words(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        body = chat("hello there you", stream=False)
        seen = await ask(upstream, "", body, "/v1/chat/completions", "x-request-id: abc")
        assert (seen.status, seen.headers["content-type"]) == (200, "application/json")
        assert seen.json == {
            "id": "chatcmpl-abc",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "m",
            "system_fingerprint": "fp_lab",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "echo: hello there you", "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
        }
        assert (await ask(upstream, "", body)).json["id"] == "chatcmpl-lab-1"

    serve(case)


def test_a_stream_says_the_same_in_pieces(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "", chat("one two", stream_options={"include_usage": True}))
        assert seen.headers["content-type"] == "text/event-stream; charset=utf-8"
        role, *content, finish, usage, done = seen.events
        assert role["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
        assert texts(content) == ["echo:", " one", " two"]
        assert (finish["choices"][0]["delta"], finish["choices"][0]["finish_reason"]) == ({}, "stop")
        assert usage["choices"] == []
        assert usage["usage"] == {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
        assert all(event["usage"] is None for event in (role, *content, finish))
        assert done == "[DONE]"
        assert not any("usage" in event for event in (await ask(upstream)).events)

    serve(case)


def test_the_cap_on_tokens_holds(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        caps: list[dict[str, Any]] = [{"max_tokens": 2}, {"max_completion_tokens": 2, "max_tokens": 3}]
        for cap in caps:
            seen = await ask(upstream, "", chat("one two three", stream=False, **cap))
            assert (choice(seen)["message"]["content"], choice(seen)["finish_reason"]) == ("echo: one", "length")
            seen = await ask(upstream, "", chat("one two three", **cap))
            assert (seen.text, seen.events[-2]["choices"][0]["finish_reason"]) == ("echo: one", "length")
        assert choice(await ask(upstream, "", chat("one", stream=False, max_tokens=9)))["finish_reason"] == "stop"
        assert len(texts((await ask(upstream, "events=20", chat(max_tokens=2))).events)) == 20, "orders win"

    serve(case)


def test_messages_in_parts_and_of_other_roles(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        messages = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a b"}, {"type": "image_url", "image_url": {}}]},
            {"role": "assistant", "content": None, "tool_calls": []},
        ]
        seen = await ask(upstream, "", json.dumps({"model": "m", "messages": messages}).encode())
        assert choice(seen)["message"]["content"] == "echo: a b"
        assert seen.json["usage"]["prompt_tokens"] == 5, "the image is one"

    serve(case)


def test_completions(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        path = "/v1/completions"
        for prompt, text in (("a b", "echo: a b"), (["a b"], "echo: a b"), ([7, 8, 9], "echo: 7 8 9")):
            seen = await ask(upstream, "", json.dumps({"model": "m", "prompt": prompt}).encode(), path)
            assert (seen.json["object"], choice(seen)["text"]) == ("text_completion", text)
        body = json.dumps({"model": "m", "prompt": "a b", "stream": True, "stream_options": {"include_usage": True}})
        seen = await ask(upstream, "", body.encode(), path)
        *content, finish, usage, done = seen.events
        assert [event["choices"][0]["text"] for event in content] == ["echo:", " a", " b"]
        assert (finish["choices"][0]["finish_reason"], done) == ("stop", "[DONE]")
        assert usage["usage"]["completion_tokens"] == 3

    serve(case)


def test_embeddings_depend_on_the_text_alone(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async def embed(**fields: object) -> Any:
            body = json.dumps({"model": "e", **fields}).encode()
            return (await ask(upstream, "", body, "/v1/embeddings")).json

        both = await embed(input=["a", "b c"])
        first, second = (item["embedding"] for item in both["data"])
        assert (len(first), both["usage"]) == (8, {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3})
        assert first != second
        assert (await embed(input="b c"))["data"][0]["embedding"] == second
        packed = (await embed(input="b c", encoding_format="base64"))["data"][0]["embedding"]
        assert list(struct.unpack("<8f", base64.b64decode(packed))) == second
        assert len((await embed(input="a", dimensions=100))["data"][0]["embedding"]) == 100
        assert len((await embed(input=[1, 2, 3]))["data"]) == 1

    serve(case)


def test_models_and_health(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        listed = (await get(upstream, "/v1/models")).json
        assert [model["id"] for model in listed["data"]] == ["x/y", "z"]
        assert (await get(upstream, "/v1/models/x/y")).json == listed["data"][0]
        assert (await get(upstream, "/health")).json == {"status": "ok"}
        missing = await get(upstream, "/v1/models/w")
        assert (missing.status, missing.json["error"]["code"]) == (404, "model_not_found")
        assert (await get(upstream, "/v1/models", "x-lab: status=500")).status == 500

    serve(case, models=("x/y", "z"))


def test_a_key_is_demanded_where_one_is_set(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        for header in ("x-a: b", "authorization: Bearer sk-wrong", "authorization: sk-right"):
            seen = await get(upstream, "/v1/models", header)
            assert (seen.status, seen.json["error"]["code"]) == (401, "invalid_api_key")
        assert (await get(upstream, "/v1/models", "authorization: Bearer sk-right")).status == 200
        assert (await get(upstream, "/health")).status == 200

    serve(case, api_key="sk-right")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "cannot read this body"),
        (b"[]", "cannot read this body"),
        (b'{"model":"m"}', "missing required field `messages`"),
        (b'{"model":"m","messages":[],"n":2}', "one choice"),
        (b'{"model":"m","messages":[{"role":"user","content":"lab: {\\"dely\\": 1}"}]}', "did you mean `delay`?"),
        (b'{"model":"m","messages":[{"role":"user","content":"lab: {oops"}]}', "not JSON"),
    ],
)
def test_a_bad_request_gets_a_clear_error(serve: Run, body: bytes, says: str) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "", body)
        assert (seen.status, seen.json["error"]["type"]) == (400, "invalid_request_error")
        assert says in seen.json["error"]["message"]

    serve(case)


def test_other_paths_and_methods_are_refused(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        assert (await get(upstream, "/v2/nothing")).status == 404
        assert (await get(upstream, "/lab/nothing")).status == 404
        seen = await get(upstream, "/v1/chat/completions")
        assert (seen.status, seen.headers["allow"]) == (405, "POST")
        assert (await get(upstream, "/lab/reset")).status == 405

    serve(case)


def test_an_order_may_stand_in_the_prompt(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "", chat('lab: {"status": 503, "retry_after": 2}'))
        assert (seen.status, seen.headers["retry-after"]) == (503, "2")
        seen = await ask(upstream, "", chat('lab: {"model": "other"} and a prompt', stream=False))
        assert (seen.json["model"], choice(seen)["message"]["content"]) == ("other", "echo: and a prompt")
        seen = await ask(upstream, "status=429", chat('lab: {"status": 503}'))
        assert seen.status == 429, "a header comes first"

    serve(case)


def test_a_header_may_hold_json(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        path = "/v1/chat/completions"
        assert (await ask(upstream, "", chat(), path, 'x-lab-order: {"status": 503}')).status == 503
        seen = await ask(upstream, "delay=0", chat(), path, 'x-lab-order: {"status": 503}')
        assert (seen.status, seen.json["error"]["code"]) == (400, "invalid_order")

    serve(case)


def test_how_much_is_said(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        assert texts((await ask(upstream, "events=6")).events) == ["echo:", " one", " two", " three", " w4", " w5"]
        spaced = chat('lab: {"content": "a b ", "events": 3}')
        assert texts((await ask(upstream, "", spaced)).events) == ["a", " b", " w2"]
        assert texts((await ask(upstream, "events=2; tokens_per_event=2")).events) == ["echo: one", " two three"]
        assert texts((await ask(upstream, "tokens_per_event=3")).events) == ["echo: one two", " three"]
        assert texts((await ask(upstream, "events=0")).events) == []
        assert texts((await ask(upstream, "content=žluťoučký kůň")).events) == ["žluťoučký", " kůň"]
        seen = await ask(upstream, "size=100KiB; events=7")
        assert (len(seen.text), len(texts(seen.events))) == (100 * 1024, 7)
        seen = await ask(upstream, "size=5MiB", stream=False)
        assert len(choice(seen)["message"]["content"]) == 5 * 1024 * 1024
        plain = choice(await ask(upstream, "events=6", stream=False))["message"]["content"]
        assert plain == "echo: one two three w4 w5", "a plain answer has the same text"

    serve(case)


def test_content_free_events_come_first(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        deltas = [event["choices"][0]["delta"] for event in (await ask(upstream, "role_events=3")).events[:4]]
        assert [delta["content"] for delta in deltas] == ["", "", "", "echo:"]
        assert "role" in deltas[0]
        assert (await ask(upstream, "role_events=0")).events[0]["choices"][0]["delta"] == {"content": "echo:"}

    serve(case)


@pytest.mark.parametrize(
    ("order", "usage"),
    [
        ("usage=null", None),
        ("usage=negative", {"prompt_tokens": -1, "completion_tokens": -1, "total_tokens": -2}),
        ("usage=huge", {"prompt_tokens": 10**18, "completion_tokens": 10**18, "total_tokens": 2 * 10**18}),
        ("usage=text", {"prompt_tokens": "3", "completion_tokens": "4", "total_tokens": "7"}),
        ("prompt_tokens=50; completion_tokens=9", {"prompt_tokens": 50, "completion_tokens": 9, "total_tokens": 59}),
        (
            "cached_tokens=2",
            {
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "total_tokens": 7,
                "prompt_tokens_details": {"cached_tokens": 2},
            },
        ),
    ],
)
def test_odd_usage(serve: Run, order: str, usage: object) -> None:
    async def case(upstream: Upstream) -> None:
        assert (await ask(upstream, order, stream=False)).json["usage"] == usage
        assert (await ask(upstream, f"{order}; usage_always")).events[-2]["usage"] == usage

    serve(case)


def test_where_a_stream_tells_its_usage(serve: Run) -> None:
    asking = chat(stream_options={"include_usage": True})

    async def case(upstream: Upstream) -> None:
        assert "usage" not in (await ask(upstream, "usage=missing", stream=False)).json
        assert (await ask(upstream, "usage=missing", asking)).events[-2]["choices"][0]["finish_reason"] == "stop"
        finish = (await ask(upstream, "usage_on=finish", asking)).events[-2]
        assert (finish["choices"][0]["finish_reason"], finish["usage"]["total_tokens"]) == ("stop", 7)
        assert (await ask(upstream, "usage_on=null_choices", asking)).events[-2]["choices"] is None
        every = (await ask(upstream, "usage_on=every", asking)).events
        assert [event["usage"]["completion_tokens"] for event in every[1:-1]] == [1, 2, 3, 4, 4, 4]
        assert every[-2]["choices"] == []

    serve(case)


def test_what_no_client_knows(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "unknown_fields", stream=False)
        unknown = {"nested": [1, {"deep": None}], "text": "é"}
        assert seen.json["x_lab"] == choice(seen)["message"]["x_lab"] == unknown
        seen = await ask(upstream, "unknown_fields")
        assert all(event["x_lab"] == event["choices"][0]["x_lab"] == unknown for event in seen.events[:-1])
        seen = await ask(upstream, "unknown_events")
        assert seen.body.count(b'event: lab.unknown\ndata: {"lab":true}\nid: 7\n\n') == 4
        assert seen.text == "echo: one two three"

    serve(case)


def test_server_sent_events_in_other_dress(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        usual = (await ask(upstream, "", chat(), "/v1/chat/completions", "x-request-id: 1")).events

        async def dressed(order: str) -> bytes:
            seen = await ask(upstream, order, chat(), "/v1/chat/completions", "x-request-id: 1")
            assert seen.events == usual
            return seen.body

        crlf = await dressed("newline=crlf")
        assert crlf.count(b"\r\n\r\n") == len(usual)
        assert b"\n" not in crlf.replace(b"\r\n", b"")
        assert b"\n" not in await dressed("newline=cr")
        assert (await dressed("comments=2")).startswith(b": lab comment\n\n: lab comment\n\ndata: {")
        assert (await dressed("multiline")).startswith(b'data: {\ndata:   "id":')
        assert (await dressed("spaceless")).startswith(b"data:{")
        assert (await ask(upstream, "done=false")).events[-1]["choices"][0]["finish_reason"] == "stop"
        for newline, end in (("lf", b"data: [DONE]\n"), ("crlf", b"data: [DONE]\r\n")):
            seen = await ask(upstream, f"last_blank=false; newline={newline}")
            assert seen.body.endswith(end)
            assert not seen.body.endswith(end + end[-1:])

    serve(case)


def test_an_error_inside_a_stream(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "error_after=2; error=overheated; error_type=lab; error_code=hot")
        assert seen.status == 200
        assert seen.text == "echo: one"
        assert seen.events[-1] == {"error": {"message": "overheated", "type": "lab", "param": None, "code": "hot"}}

    serve(case)


@pytest.mark.parametrize(
    ("order", "status", "kind", "start"),
    [
        ("status=429", 429, "requests", b'{"error":'),
        ("status=404", 404, "invalid_request_error", b'{"error":'),
        ("status=500", 500, "server_error", b'{"error":'),
        ("status=200; body=error", 200, "server_error", b'{"error":'),
        ("status=502; body=html", 502, None, b"<!DOCTYPE html>"),
        ("status=500; body=garbage", 500, None, b"\x80\x81"),
        ("status=503; body=empty", 503, None, b""),
        ("status=500; body=answer", 500, None, b'{"id":'),
        ("status=204", 204, None, b""),
    ],
)
def test_statuses_and_their_bodies(serve: Run, order: str, status: int, kind: str | None, start: bytes) -> None:
    async def case(upstream: Upstream) -> None:
        for stream in (True, False):
            if stream and "answer" in order:
                continue
            seen = await ask(upstream, order, stream=stream)
            assert seen.status == status
            assert seen.body.startswith(start)
            assert bool(seen.body) == bool(start)
            if kind:
                assert (seen.json["error"]["type"], seen.json["error"]["message"]) == (kind, "ordered by the lab")
        assert upstream.stats.statuses[status] > 0

    serve(case)


def test_a_body_word_for_word(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "raw=Network connection lost")
        assert (seen.status, seen.body) == (200, b"Network connection lost")
        assert seen.headers["content-type"] == "text/plain; charset=utf-8"
        order = json.dumps({"raw": "data: {}\n\ndata: [DONE]\n\n", "content_type": "text/event-stream"})
        seen = await ask(upstream, "", chat(), "/v1/chat/completions", f"x-lab-order: {order}")
        assert (seen.headers["content-type"], seen.events) == ("text/event-stream", [{}, "[DONE]"])

    serve(case)


def test_the_same_request_has_the_same_answer_but_for_its_id(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        body = chat("one two", stream=False)
        first, second = (await ask(upstream, "", body)).json, (await ask(upstream, "", body)).json
        assert (first.pop("id"), second.pop("id")) == ("chatcmpl-lab-1", "chatcmpl-lab-2")
        assert first == second
        odd = await ask(upstream, "", body, "/v1/chat/completions", 'x-request-id: a"b')
        assert odd.json["id"] == 'chatcmpl-a"b'
        assert (await ask(upstream, "", body, "/v1/completions")).status == 200, "a prompt is not demanded there"
        assert (await ask(upstream, "status=500", body)).status == 500
        assert [received.body for received in upstream.stats.received] == [body] * 5

    serve(case)


def test_ready_made_answers_are_bounded() -> None:
    instant = Instant()
    for number in range(1025):
        body = chat(str(number), stream=False)
        instant.make("/v1/chat/completions", body, chats.DIALECT, chats.read(body))
    assert instant.get("/v1/chat/completions", chat("0", stream=False)) is None
    ready = instant.get("/v1/chat/completions", chat("1024", stream=False))
    assert ready is not None
    assert json.loads(ready.body("x"))["choices"][0]["message"]["content"] == "echo: 1024"
    large = chat("x" * 5000, stream=False)
    instant.make("/v1/chat/completions", large, chats.DIALECT, chats.read(large))
    assert instant.get("/v1/chat/completions", large) is None, "large bodies are not kept"
