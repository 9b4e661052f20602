"""The request path over real sockets: a gateway worker in front of the lab."""

import contextlib
import json
import resource
import socket
from pathlib import Path

import httpx
import pytest

from penstock.auth import keys, pepper
from penstock.auth.secrets import SecretRef
from penstock.journal.records import Opened, Settled
from penstock.snapshot.fleet import Fleet
from penstock.snapshot.principals import KeyRecord
from penstock.types.address import Address
from tests.processes import PRICE, Front, Lab, eventually, front_with_lab, model, provider

pytestmark = pytest.mark.usefixtures("ends_the_row")


def order(**fields: object) -> str:
    """Return a prompt that the lab takes as an order."""
    return "lab: " + json.dumps(fields)


def test_a_chat_is_answered_accounted_and_explained(front: Front, lab: Lab) -> None:
    response = front.chat("one two three")
    assert response.status_code == 200
    body = response.json()
    assert body["choices"][0]["message"]["content"] == "echo: one two three"
    record = front.settled(response.headers["x-request-id"])
    usage = body["usage"]
    assert (record.usage.input_tokens, record.usage.output_tokens) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    cost = usage["prompt_tokens"] * 1000 + usage["completion_tokens"] * 2000
    assert (record.outcome, record.status, record.deployment, record.cost_nano) == ("answered", 200, "lab", cost)
    assert response.headers["x-penstock-cost-usd"] == f"0.{cost:09d}"
    assert response.headers["x-penstock-deployment"] == "lab"
    assert [step for step, _ in record.explanation] == ["identity", "route", "upstream", "price"]
    opened = [entry for entry in front.journal() if isinstance(entry, Opened) and entry.id == record.id]
    assert len(opened) == 1
    assert opened[0].reserved_nano >= cost


def test_the_upstream_sees_its_own_model_and_none_of_the_clients_headers(front: Front, lab: Lab) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}], "unknown": {"b": 1, "a": [1.50]}}
    response = front.client.post(
        "/v1/chat/completions",
        json=body,
        headers={"traceparent": trace, "tracestate": "a=b", "x-secret": "mine", "cookie": "c=d"},
    )
    (seen,) = lab.last()
    headers = {name.lower(): value for name, value in dict(seen["headers"]).items()}
    assert headers["traceparent"] == trace
    assert headers["tracestate"] == "a=b"
    assert headers["x-request-id"] == response.headers["x-request-id"]
    assert not {"authorization", "x-secret", "cookie"} & set(headers)
    sent = json.loads(seen["body"]) if isinstance(seen["body"], str) else seen["body"]
    assert sent == {**body, "model": "lab-upstream"}
    assert front.settled(response.headers["x-request-id"]).trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_completions_and_embeddings(front: Front) -> None:
    completion = front.client.post("/v1/completions", json={"model": "chat", "prompt": "hello there"})
    assert completion.status_code == 200
    assert completion.json()["choices"][0]["text"]
    embeddings = front.client.post("/v1/embeddings", json={"model": "chat", "input": ["a", "b"]})
    assert embeddings.status_code == 200
    assert len(embeddings.json()["data"]) == 2
    assert front.settled(embeddings.headers["x-request-id"]).operation == "embeddings"


def test_models_are_listed_and_described(front: Front) -> None:
    listing = front.client.get("/v1/models").json()
    assert [entry["id"] for entry in listing["data"]] == ["chat"]
    assert front.client.get("/v1/models/chat").json() == listing["data"][0]
    assert front.client.get("/v1/models/nope").status_code == 404
    assert httpx.get(f"{front.url}/v1/models").status_code == 401


def test_health_needs_no_key(front: Front) -> None:
    assert httpx.get(f"{front.url}/livez").json() == {"status": "live"}
    assert httpx.get(f"{front.url}/readyz").json() == {"status": "ready"}
    assert httpx.head(f"{front.url}/livez").status_code == 200


def test_this_machines_user_needs_no_key_on_the_unix_socket(front: Front) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(front.home.gateway_socket))) as client:
        body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
        response = client.post("http://localhost/v1/chat/completions", json=body)
    assert response.status_code == 200
    assert front.settled(response.headers["x-request-id"]).key == "local"


@pytest.mark.parametrize(
    ("status", "answered", "source"),
    [
        (500, 502, "upstream"),
        (503, 503, "upstream"),
        (401, 502, "upstream"),
        (404, 502, "upstream"),
        (400, 400, "upstream"),
    ],
)
def test_an_upstreams_error_becomes_ours(front: Front, status: int, answered: int, source: str) -> None:
    response = front.chat(order(status=status))
    assert response.status_code == answered
    assert response.headers["x-penstock-error-source"] == source
    assert response.headers["x-penstock-deployment"] == "lab"
    record = front.settled(response.headers["x-request-id"])
    assert (record.outcome, record.status, record.cost_nano) == ("failed", answered, 0)


def test_an_upstreams_429_is_lack_of_capacity_with_its_retry_after(tmp_path: Path) -> None:
    """Until then the upstream is left alone, and clients are told so at once."""
    with front_with_lab(tmp_path) as (front, lab):
        response = front.chat(order(status=429, retry_after="7"))
        assert response.status_code == 503
        assert response.headers["retry-after"] == "7"
        asked = lab.stats()["requests"]
        again = front.chat()
        assert (again.status_code, again.json()["error"]["code"]) == (503, "overloaded")
        assert 1 <= int(again.headers["retry-after"]) <= 7
        assert lab.stats()["requests"] == asked


@pytest.mark.parametrize("broken", ["garbage", "html", "empty", "error"])
def test_a_200_that_is_no_answer_is_a_failure(front: Front, broken: str) -> None:
    response = front.chat(order(body=broken))
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_failed"


@pytest.mark.parametrize(
    "fields",
    [
        {"cut": "before_head"},
        {"cut": "in_head"},
        {"cut": "after_head"},
        {"broken": "short_body"},
        {"broken": "chunk_size", "framing": "chunked"},
    ],
)
def test_a_reply_that_breaks_off_is_a_failure(front: Front, fields: dict[str, object]) -> None:
    response = front.chat(order(**fields))
    assert response.status_code == 502
    assert front.settled(response.headers["x-request-id"]).outcome == "failed"


def test_a_reply_without_usage_is_billed_by_estimate(front: Front) -> None:
    response = front.chat(order(usage="missing"))
    record = front.settled(response.headers["x-request-id"])
    assert record.usage.source == "estimated"
    content = response.json()["choices"][0]["message"]["content"]
    assert record.usage.output_tokens == -(-len(json.dumps(content)) // 4), "of the content, not of what is around it"


def test_a_slow_upstream_ends_in_504(tmp_path: Path) -> None:
    with front_with_lab(tmp_path, total_s=0.5) as (front, lab):
        response = front.chat(order(stall="before_head"))
        assert response.status_code == 504
        assert response.json()["error"]["type"] == "timeout_error"
        eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")


def test_a_client_that_leaves_frees_the_upstream(front: Front, lab: Lab) -> None:
    """Also when pipelined bytes follow the request, behind which the end of the connection could hide."""
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": order(stall="before_head")}]}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: %d\r\n\r\n"
    for extra in (b"", b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" * 3):
        with socket.create_connection(("127.0.0.1", front.port)) as raw:
            raw.sendall(head % (front.key.encode(), len(body)) + body + extra)
            eventually(lambda: lab.stats()["in_progress"] == 1, "the request reaching the upstream")
        eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")
    cancelled = [entry for entry in front.journal() if getattr(entry, "outcome", "") == "cancelled"]
    assert {entry.status for entry in cancelled} >= {499}  # type: ignore[union-attr]  # only settled records have one


def test_a_fallback_answers_when_the_first_fails(tmp_path: Path) -> None:
    with Lab() as good, Front(tmp_path) as front:
        nobody = provider("nobody", Address(host="127.0.0.1", port=1, path="/v1"))
        front.publish([nobody, provider("good", good.address())], [model("chat", "nobody", fallback=("good",))])
        response = front.chat()
        assert response.status_code == 200
        assert response.headers["x-penstock-deployment"] == "good"
        record = front.settled(response.headers["x-request-id"])
        assert [step for step, _ in record.explanation].count("fallback") == 1


def test_a_deployment_that_is_full_answers_503_at_once(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("lab", lab.address(), seats=1, queue=0)], [model("chat", "lab")])
        with httpx.Client(base_url=front.url, headers={"authorization": f"Bearer {front.key}"}) as other:
            body = {
                "model": "chat",
                "stream": True,
                "messages": [{"role": "user", "content": order(content="a b c d", stall_after=1)}],
            }
            with other.stream("POST", "/v1/chat/completions", json=body) as stream:
                pieces = stream.iter_raw()
                assert next(pieces)
                response = front.chat()
                assert response.status_code == 503
                assert response.headers["retry-after"]
                assert response.json()["error"]["code"] == "overloaded"
        eventually(lambda: front.chat().status_code == 200, "the slot being free again")


def test_a_missing_credential_is_said_and_the_rest_serves(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path, environ={"GOOD_KEY": "sk-good"}) as front:
        front.publish_fleet(Fleet(1, ()))  # a node runs engines here, but none of these is one
        front.publish(
            [
                provider("lab", lab.address(), api_key=SecretRef(env="GOOD_KEY")),
                provider("bare", lab.address(), api_key=SecretRef(env="NO_SUCH_KEY")),
            ],
            # Whoever waited for what cannot come would outlast the client's patience.
            [model("chat", "lab"), model("other", "bare", first_token_s=3600.0, total_s=3600.0)],
        )
        assert front.chat().status_code == 200
        headers = {name.lower(): value for name, value in dict(lab.last()[0]["headers"]).items()}
        assert headers["authorization"] == "Bearer sk-good"
        response = front.chat(model="other")
        assert response.status_code == 503
        assert "NO_SUCH_KEY" not in response.text, "that is for the operator, in the explanation"
        assert "NO_SUCH_KEY" in str(front.settled(response.headers["x-request-id"]).explanation)


def test_a_revoked_key_stops_and_a_new_one_starts(tmp_path: Path) -> None:
    with front_with_lab(tmp_path) as (front, _):
        assert front.chat().status_code == 200
        new = keys.create(pepper.load(front.home.root, {}))
        front.records = {new.id: KeyRecord(new.id, new.digest, "acme", ("other",))}
        front.publish_keys()
        eventually(lambda: front.chat().status_code == 401, "the revocation")
        response = front.client.get("/v1/models", headers={"authorization": f"Bearer {new.key}"})
        assert response.json()["data"] == [], "a model the key may not use looks as if it did not exist"
        front.client.headers["authorization"] = f"Bearer {new.key}"
        assert front.chat().status_code == 404


def test_a_twenty_megabyte_prompt_passes(front: Front, lab: Lab) -> None:
    response = front.chat("word " * 4_000_000, max_tokens=1)
    assert response.status_code == 200


def test_sigterm_lets_an_answer_end_and_loses_nothing(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        # A drain that would last for ever, did it not end with the last answer.
        front.publish([provider("lab", lab.address())], [model("chat", "lab")], drain_s=3600)
        body = {
            "model": "chat",
            "stream": True,
            "messages": [{"role": "user", "content": order(events=20, delay_between="30ms")}],
        }
        with front.client.stream("POST", "/v1/chat/completions", json=body) as stream:
            received = b""
            for piece in stream.iter_raw():
                if not received:
                    front.process.terminate()
                received += piece
            request_id = stream.headers["x-request-id"]
        assert received.endswith(b"data: [DONE]\n\n")
        assert front.process.wait(30) == 0
        assert front.settled(request_id).outcome == "answered"


def test_a_second_sigterm_cuts_at_once_and_settles_what_was_delivered(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("lab", lab.address())], [model("chat", "lab")], drain_s=3600)
        body = {
            "model": "chat",
            "stream": True,
            "messages": [{"role": "user", "content": order(content="a b c d", stall_after=2)}],
        }
        with front.client.stream("POST", "/v1/chat/completions", json=body) as stream:
            pieces = stream.iter_raw()
            received = next(pieces)
            while received.count(b'"content"') < 3:  # the role event has one too
                received += next(pieces)
            front.process.terminate()
            eventually(lambda: _refuses(front), "the drain")
            front.process.terminate()
            assert front.process.wait(30) == 0
            request_id = stream.headers["x-request-id"]
        record = front.settled(request_id)
        assert (record.outcome, record.usage.source, record.usage.output_tokens) == ("cancelled", "counted", 2)


def _refuses(front: Front) -> bool:
    """Tell whether the worker has stopped accepting: its copy of the listener is closed, and only ours is left."""
    held = set()
    for path in Path(f"/proc/{front.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            held.add(path.readlink())
    return Path(f"/proc/self/fd/{front.listener.fileno()}").readlink() not in held


def test_an_encoded_body_is_refused(front: Front) -> None:
    response = front.client.post("/v1/chat/completions", content=b"x", headers={"content-encoding": "gzip"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_encoding")


def test_the_kind_of_an_upstreams_error_is_explained_and_its_words_are_not(front: Front) -> None:
    response = front.chat(order(status=500, error="about a private prompt", error_type="tool_error"))
    explanation = str(front.settled(response.headers["x-request-id"]).explanation)
    assert "tool_error" in explanation
    assert "private" not in explanation
    assert "private" not in response.text


def test_the_price_of_the_fixture_is_what_the_tests_count_with() -> None:
    assert (PRICE.input, PRICE.output) == (1_000_000_000, 2_000_000_000)


def test_a_full_disk_stops_admission_and_nothing_else(tmp_path: Path) -> None:
    """A limit on the size of the worker's files stands for the full disk."""
    with front_with_lab(tmp_path) as (front, lab):
        assert front.chat().status_code == 200
        (segment,) = front.home.journal.glob("*.journal")
        unlimited = resource.prlimit(front.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(front.pid, resource.RLIMIT_FSIZE, (segment.stat().st_size, unlimited[1]))
        served = -1
        while served != (served := lab.stats()["requests"]):  # until the space that was reserved is used up
            response = front.chat()
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "journal_unavailable"
        assert response.headers["retry-after"]
        assert lab.stats()["requests"] == served, "nothing was dispatched"
        assert front.client.get("/v1/models").status_code == 200
        resource.prlimit(front.pid, resource.RLIMIT_FSIZE, unlimited)
        assert front.chat().status_code == 200
        records = front.journal()
        assert isinstance(records[-2], Opened)
        assert isinstance(records[-1], Settled)
