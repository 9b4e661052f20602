"""Streams over real sockets: bytes pass as they are, and every way of breaking ends as promised."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Front, Lab, eventually, front_with_lab


def order(**fields: object) -> str:
    return "lab: " + json.dumps(fields)


def stream(front: Front, content: str = "one two three", **fields: Any) -> tuple[Any, bytes]:
    """Return the response and all its bytes."""
    body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": content}], **fields}
    with front.client.stream("POST", "/v1/chat/completions", json=body) as response:
        return response, b"".join(response.iter_raw())


def documents(received: bytes) -> list[dict[str, Any]]:
    lines = received.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    data = [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]
    return [json.loads(entry) for entry in data if entry.startswith(b"{")]


def text(received: bytes) -> str:
    return "".join(
        choice["delta"].get("content") or ""
        for document in documents(received)
        for choice in document.get("choices", [])
    )


def test_a_stream_is_relayed_and_accounted(front: Front) -> None:
    response, received = stream(front)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache"
    assert text(received) == "echo: one two three"
    assert received.endswith(b"data: [DONE]\n\n")
    record = front.settled(response.headers["x-request-id"])
    assert (record.outcome, record.usage.source, record.stream) == ("answered", "upstream", True)
    assert record.usage.output_tokens > 0
    assert record.first_content_ms is not None


def test_usage_is_sent_only_to_those_who_asked(front: Front, lab: Lab) -> None:
    _, without = stream(front)
    assert json.loads(lab.last()[0]["body"])["stream_options"] == {"include_usage": True}
    assert not any(document.get("usage") for document in documents(without))
    _, with_usage = stream(front, stream_options={"include_usage": True})
    chunks = [document for document in documents(with_usage) if document.get("usage")]
    assert len(chunks) == 1
    assert chunks[0]["choices"] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"newline": "crlf"},
        {"newline": "cr"},
        {"comments": 2},
        {"multiline": True},
        {"spaceless": True},
        {"unknown_events": True},
        {"unknown_fields": True},
        {"chunk_size": 1},
        {"chunk_size": 7},
        {"write_size": 3},
        {"events_per_write": 5},
        {"last_blank": False},
        {"usage_on": "every"},
        {"usage_on": "null_choices"},
    ],
    ids=str,
)
def test_odd_but_valid_streams_arrive_whole(front: Front, fields: dict[str, object]) -> None:
    sent = "žluťoučký 🐎 kůň says three words"
    response, received = stream(front, order(content=sent, **fields))
    assert response.status_code == 200
    assert b"[DONE]" in received
    if "multiline" not in fields:
        assert text(received) == sent
    if "unknown_events" in fields:
        assert b"event: lab.unknown" in received
    if "comments" in fields:
        assert b": lab" in received
    assert front.settled(response.headers["x-request-id"]).outcome == "answered"


def test_bytes_pass_unchanged(front: Front, lab: Lab) -> None:
    """What the client gets is byte for byte what a client of the upstream itself gets."""
    fields = {"unknown_fields": True, "unknown_events": True, "comments": 1, "newline": "crlf", "usage_always": True}
    prompt = order(content="žluťoučký 🐎 kůň", **fields)
    _, through = stream(front, prompt, stream_options={"include_usage": True})
    (request,) = lab.last()
    import httpx

    with httpx.stream(
        "POST", f"{lab.url}/v1/chat/completions", content=request["body"], headers=request["headers"]
    ) as direct:
        alone = b"".join(direct.iter_raw())
    done = alone.index(b"data: [DONE]")
    assert through[: through.index(b"data: [DONE]")].split(b"\r\n") == alone[:done].split(b"\r\n")


@pytest.mark.parametrize(
    "fields",
    [
        {"cut_after": 2},
        {"cut": "in_event", "cut_after": 2},
        {"cut": "in_character", "cut_after": 2},
        {"cut_after": 2, "cut_with": "rst"},
        {"broken": "chunk_size", "broken_after": 2},
        {"error_after": 2},
    ],
    ids=str,
)
def test_a_stream_that_breaks_after_content_ends_in_an_error_event(front: Front, fields: dict[str, object]) -> None:
    response, received = stream(front, order(content="ä b c d e f g h", delay_between="20ms", **fields))
    assert response.status_code == 200
    assert b"[DONE]" not in received
    assert "error" in documents(received)[-1]
    assert received.endswith(b"\n\n")
    record = front.settled(response.headers["x-request-id"])
    assert (record.outcome, record.status) == ("failed", 200)
    assert record.usage.output_tokens > 0, "what was delivered is billed"


@pytest.mark.parametrize(
    "fields",
    [{"cut": "after_head"}, {"cut_after": 0}, {"broken": "status_line"}, {"error_after": 0}, {"status": 500}],
    ids=str,
)
def test_a_stream_that_fails_before_content_has_a_status(front: Front, fields: dict[str, object]) -> None:
    response, received = stream(front, order(**fields))
    assert response.status_code == 502
    assert json.loads(received)["error"]["code"] == "upstream_failed"
    assert front.settled(response.headers["x-request-id"]).cost_nano == 0


def test_an_answer_is_whole_when_only_the_framing_after_done_is_broken(front: Front) -> None:
    response, received = stream(front, order(broken="last_chunk"))
    assert received.endswith(b"data: [DONE]\n\n")
    assert front.settled(response.headers["x-request-id"]).outcome == "answered"


def test_an_upstreams_own_error_event_is_the_last_word(front: Front) -> None:
    _, received = stream(front, order(content="a b c d e", error_after=2))
    assert ["error" in document for document in documents(received)].count(True) == 1
    assert b"[DONE]" not in received


def test_a_missing_done_after_a_finish_reason_is_made_good(front: Front) -> None:
    response, received = stream(front, order(done=False))
    assert received.endswith(b"data: [DONE]\n\n")
    assert front.settled(response.headers["x-request-id"]).outcome == "answered"


def test_silence_in_the_middle_ends_in_an_error_event(tmp_path: Path) -> None:
    with front_with_lab(tmp_path, first_token_s=0.5) as (front, lab):
        response, received = stream(front, order(content="a b c d", stall_after=2))
        assert "error" in documents(received)[-1]
        assert b"[DONE]" not in received
        record = front.settled(response.headers["x-request-id"])
        assert (record.usage.source, record.usage.output_tokens) == ("counted", 2)
        eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")


@pytest.mark.parametrize("stall", ["before_head", "after_head"])
def test_no_content_within_the_first_token_time_is_504(tmp_path: Path, stall: str) -> None:
    with front_with_lab(tmp_path, first_token_s=0.5) as (front, _):
        response, received = stream(front, order(stall=stall))
        assert response.status_code == 504
        assert json.loads(received)["error"]["type"] == "timeout_error"


def test_after_commit_keep_alive_comments_go_out_and_failures_are_told_in_band(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        from tests.processes import model, provider

        front.publish([provider("lab", lab.address())], [model("chat", "lab", first_token_s=1.0)], commit_after_s=0.2)
        response, received = stream(front, order(stall="after_head"))
        assert response.status_code == 200
        assert received.startswith(b": keep-alive\n\n")
        assert "error" in documents(received)[-1]
        late, content = stream(front, order(content="late words", delay_first="600ms"))
        assert content.startswith(b": keep-alive\n\n") or b": keep-alive" in content
        assert text(content) == "late words"
        assert late.status_code == 200


def test_a_client_that_leaves_mid_stream_pays_for_what_it_got(front: Front, lab: Lab) -> None:
    body = {
        "model": "chat",
        "stream": True,
        "messages": [{"role": "user", "content": order(content="a b c d e", stall_after=3)}],
    }
    with front.client.stream("POST", "/v1/chat/completions", json=body) as response:
        received = b""
        for piece in response.iter_raw():
            received += piece
            if received.count(b'"content"') >= 4:  # the role event has one too
                break
        request_id = response.headers["x-request-id"]
    record = front.settled(request_id)
    assert (record.outcome, record.status) == ("cancelled", 200)
    assert (record.usage.source, record.usage.output_tokens) == ("counted", 3)
    eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")


def test_back_pressure_from_a_slow_reader_reaches_the_upstream(front: Front, lab: Lab) -> None:
    """A reader that stops makes the upstream stop: buffers on the way are bounded."""
    body = json.dumps(
        {"model": "chat", "stream": True, "messages": [{"role": "user", "content": order(events=2_000_000)}]}
    ).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: %d\r\n\r\n"
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", front.port))
        raw.sendall(head % (front.key.encode(), len(body)) + body)
        raw.recv(1000)
        before, unchanged = -1, 0

        def still() -> bool:
            """Tell whether nothing has been sent over many looks: two alike could be chance."""
            nonlocal before, unchanged
            now = lab.stats()["bytes_sent"]
            unchanged, before = unchanged + 1 if now == before else 0, now
            return unchanged >= 30

        eventually(still, "the upstream standing still")
        assert before < 40_000_000
    eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")
