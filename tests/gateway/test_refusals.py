"""What bad input gets: an error in the OpenAI shape, and a process that serves the next request as if nothing was."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes import Front, eventually

GOOD = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hello"}]}).encode()


@pytest.fixture(autouse=True)
def _serves_the_next_request(front: Front) -> Iterator[None]:
    yield
    assert front.process.poll() is None
    assert front.chat("still there").json()["choices"][0]["message"]["content"] == "echo: still there"


def post(front: Front, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> Any:
    return front.client.post(path, content=body, headers={"content-type": "application/json", **headers})


def error_of(response: Any) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-penstock-error-source"] == "client"
    assert response.headers["x-request-id"].startswith("req-")
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model": "chat", "messages": [', "invalid_json"),
        (b"", "invalid_json"),
        (b"not json", "invalid_json"),
        (b"[1, 2]", "invalid_json"),
        (b'"text"', "invalid_json"),
        (GOOD[:-1] + b', "model": "chat"}', "duplicate_key"),
        (b'{"model":"chat","messages":[{"role":"user","content":"\xff\xfe"}]}', "invalid_utf8"),
        (GOOD[:-1] + b', "deep": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "invalid_json"),
        (b'{"model":"chat","messages":[]}', "invalid_value"),
        (b'{"model":"chat","messages":"hello"}', "invalid_value"),
        (b'{"model":7,"messages":[{"role":"user","content":"x"}]}', "invalid_value"),
        (GOOD[:-1] + b', "max_tokens": -1}', "invalid_value"),
        (GOOD[:-1] + b', "max_tokens": "ten"}', "invalid_value"),
        (GOOD[:-1] + b', "stream": "yes"}', "invalid_value"),
        (b'{"messages":[{"role":"user","content":"x"}]}', "missing_required_parameter"),
        (b'{"model":"chat"}', "missing_required_parameter"),
    ],
)
def test_a_body_that_cannot_be_served(front: Front, body: bytes, code: str) -> None:
    response = post(front, body)
    assert response.status_code == 400
    error = error_of(response)
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_an_unknown_model(front: Front, path: str) -> None:
    body = {"model": "nope", "messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"}
    response = post(front, json.dumps(body).encode(), path)
    assert response.status_code == 404
    assert (error_of(response)["code"], error_of(response)["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize(
    "key", ["", "Bearer", "Bearer sk-ps-aaaaaaaaaaaa-" + "x" * 43, "Basic abc", "Bearer ' OR '1'='1"]
)
def test_a_missing_or_wrong_key(front: Front, key: str) -> None:
    response = post(front, GOOD, authorization=key)
    assert response.status_code == 401
    assert error_of(response)["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"
    assert "x" * 20 not in response.text


def test_the_key_is_asked_for_before_the_body_is_read(front: Front) -> None:
    """A stranger cannot make the gateway hold a large body."""
    with socket.create_connection(("127.0.0.1", front.port)) as raw:
        raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 20000000\r\n\r\n")
        assert raw.recv(64).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/chat/completions/", "/admin/v1/keys", "/v2/models"])
def test_an_unknown_path(front: Front, path: str) -> None:
    response = front.client.get(path)
    assert response.status_code == 404
    assert error_of(response)["code"] == "unknown_url"


def test_an_unknown_path_of_anthropics_api_is_told_as_that_tells_it(front: Front) -> None:
    response = front.client.post("/v1/messages/batches", json={})
    assert (response.status_code, response.json()["type"]) == (404, "error")
    assert response.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/completions", "POST"),
        ("PUT", "/v1/embeddings", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("POST", "/livez", "GET, HEAD"),
    ],
)
def test_a_wrong_method(front: Front, method: str, path: str, allow: str) -> None:
    response = front.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allow
    assert error_of(response)["code"] == "method_not_allowed"


def raw_answer(front: Front, *pieces: bytes) -> tuple[int, dict[str, Any]]:
    """Send bytes as they are and return status and error, reading until the gateway closes."""
    with socket.create_connection(("127.0.0.1", front.port)) as raw:
        raw.settimeout(60)
        for piece in pieces:
            raw.sendall(piece)
        answer = b""
        while data := raw.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]


def test_a_hundred_kilobytes_of_headers(front: Front) -> None:
    status, error = raw_answer(
        front, b"GET /v1/models HTTP/1.1\r\nhost: x\r\n" + b"x-pad: " + b"p" * 100_000 + b"\r\n\r\n"
    )
    assert (status, error["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\nhost: a\n\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: 1\r\n 2\r\n\r\n",
    ],
)
def test_ambiguous_framing(front: Front, head: bytes) -> None:
    status, error = raw_answer(front, head)
    assert (status, error["type"]) == (400, "invalid_request_error")


def test_a_body_over_the_limit(front: Front) -> None:
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: 40000000\r\n\r\n"
    )
    status, error = raw_answer(front, head % front.key.encode())
    assert (status, error["code"]) == (413, "request_too_large")


def test_refused_exchanges_cost_nothing_and_can_be_explained(front: Front) -> None:
    body = {"model": "nope", "messages": [{"role": "user", "content": "x"}]}
    response = post(front, json.dumps(body).encode())
    record = front.settled(response.headers["x-request-id"])
    assert (record.outcome, record.status, record.cost_nano) == ("refused", 404, 0)
    assert eventually(lambda: record.explanation)[0] == ("identity", f"key {front.key_id} of tenant default")


def test_no_secret_is_logged(front: Front) -> None:
    front.chat("a private prompt")
    log = front.log()
    assert front.key not in log
    assert front.key[-20:] not in log  # of its secret, in which a hyphen may stand anywhere
    assert "a private prompt" not in log
