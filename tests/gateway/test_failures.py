"""Failures that are hard to see: what leaks from one attempt into the next, or from one change into an exchange."""

import json
import resource
import socket
import threading
from pathlib import Path

import httpx
import pytest

from penstock.journal.records import Opened
from penstock.journal.segment import segments
from tests.gateway.test_serve import order
from tests.processes import Front, Lab, eventually, front_with_lab, model, provider


def test_a_provider_of_an_unknown_kind_is_alone_in_not_serving(tmp_path: Path) -> None:
    """An older gateway meets a newer configuration: the rest serves, and later changes are still followed."""
    with Lab() as lab, Front(tmp_path) as front:
        strange = provider("strange", lab.address(), provider="martian")
        front.publish([provider("lab", lab.address()), strange], [model("chat", "lab"), model("other", "strange")])
        assert front.chat().status_code == 200
        response = front.chat(model="other")
        assert response.status_code == 503
        assert "martian" in str(front.settled(response.headers["x-request-id"]).explanation)
        front.records = {}
        front.publish_keys()
        eventually(lambda: front.chat().status_code == 401, "the revocation")


def test_the_log_says_why_an_exchange_failed(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("lab", lab.address())], [model("chat", "lab")])
        failed = front.chat(order(status=401))
        good = front.chat()
        eventually(lambda: good.headers["x-request-id"] in front.log(), "the lines of the log")
        lines = [json.loads(line) for line in front.log().splitlines()]
        errors = {line["request_id"]: line.get("error") for line in lines if line["message"] == "exchange"}
        assert "401" in errors[failed.headers["x-request-id"]]
        assert errors[good.headers["x-request-id"]] is None


def test_a_model_without_its_deployment_does_not_stop_the_rest(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("lab", lab.address())], [model("chat", "lab"), model("other", "nowhere")])
        assert front.chat().status_code == 200
        assert httpx.get(f"{front.url}/readyz").status_code == 200
        assert front.chat(model="other").status_code == 503


def test_a_deployment_replaced_while_a_body_is_uploaded(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("first", lab.address())], [model("chat", "first")])
        assert front.chat().status_code == 200
        body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "word " * 100_000}]}).encode()
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: %d\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", front.port)) as raw:
            raw.sendall(head % (front.key.encode(), len(body)) + body[:-1])
            front.publish([provider("second", lab.address(), seats=3)], [model("chat", "second")])
            eventually(lambda: front.chat().headers["x-penstock-deployment"] == "second", "the change")
            raw.sendall(body[-1:])
            assert raw.recv(12) == b"HTTP/1.1 200"


def test_a_fallback_removed_while_the_first_is_tried(tmp_path: Path) -> None:
    with Lab() as bad, Lab() as good, Front(tmp_path) as front:
        rule = [{"order": {"delay": "1s", "status": 500}}]
        httpx.post(f"{bad.url}/lab/script", json=rule).raise_for_status()
        front.publish(
            [provider("bad", bad.address()), provider("good", good.address())],
            [model("chat", "bad", fallback=("good",))],
        )
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(front.chat()))
        asking.start()
        eventually(lambda: bad.stats()["in_progress"] == 1, "the first try")
        front.publish([provider("bad", bad.address())], [model("chat", "bad")])
        asking.join()
        assert answers[0].status_code == 200
        assert answers[0].headers["x-penstock-deployment"] == "good"


def test_deployments_that_share_an_address_have_their_own_seats(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish(
            [provider("small", lab.address(), seats=1, queue=0), provider("big", lab.address(), seats=8)],
            [model("chat", "small"), model("other", "big")],
        )
        held = {"model": "other", "stream": True, "messages": [{"role": "user", "content": order(stall_after=1)}]}
        with (
            httpx.Client(base_url=front.url, headers={"authorization": f"Bearer {front.key}"}) as client,
            client.stream("POST", "/v1/chat/completions", json=held) as stalled,
        ):
            pieces = stalled.iter_raw()
            assert next(pieces)
            assert front.chat().status_code == 200


def test_an_error_whose_body_never_comes_leaves_time_for_the_fallback(tmp_path: Path) -> None:
    with Lab() as bad, Lab() as good, Front(tmp_path) as front:
        rule = [{"order": {"status": 500, "stall": "after_head"}}]
        httpx.post(f"{bad.url}/lab/script", json=rule).raise_for_status()
        front.publish(
            [provider("bad", bad.address()), provider("good", good.address())],
            [model("chat", "bad", fallback=("good",), total_s=20.0)],
        )
        response = front.chat()
        assert (response.status_code, response.headers["x-penstock-deployment"]) == (200, "good")


def test_an_exchange_that_cannot_be_settled_is_no_answer(tmp_path: Path) -> None:
    """The disk fills up between `opened` and `settled`; control will find the exchange open and call it lost."""
    with front_with_lab(tmp_path) as (front, _):
        assert front.chat().status_code == 200
        (segment,) = segments(front.home.journal)
        first, opened = segment.read(0, 1)
        assert isinstance(first[0], Opened)
        _, exchange = segment.read(0, 2)
        reserved = segment.path.stat().st_size
        unlimited = resource.prlimit(front.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(front.pid, resource.RLIMIT_FSIZE, (reserved, unlimited[1]))
        # Use up what is reserved but for room for one `opened`. A refused exchange has a `settled` alone, with the name
        # of the model in it, so that its size can be chosen.
        front.chat(model="?")
        refused = segment.read(0, 3)[1] - exchange

        def left() -> int:
            return reserved - segment.read(0, 10_000)[1]

        wanted = (opened + exchange) // 2
        while (too_much := left() - wanted) > refused + 200:
            front.chat(model="?" if too_much < refused + 200 + exchange else "chat")
        front.chat(model="?" * max(1, too_much - refused))
        assert opened < left() < exchange - 50
        response = front.chat()
        assert response.status_code == 503
        assert response.json()["error"]["code"] == "journal_unavailable"
        resource.prlimit(front.pid, resource.RLIMIT_FSIZE, unlimited)
        assert front.chat().status_code == 200
        eventually(lambda: "exchange not settled" in front.log(), "the log line")


def test_embeddings_without_usage_are_billed_by_their_input(front: Front, lab: Lab) -> None:
    rule = [{"order": {"usage": "missing"}, "times": 1}]
    httpx.post(f"{lab.url}/lab/script", json=rule).raise_for_status()
    response = front.client.post("/v1/embeddings", json={"model": "chat", "input": "some words"})
    httpx.post(f"{lab.url}/lab/script", json=[]).raise_for_status()
    record = front.settled(response.headers["x-request-id"])
    assert (record.usage.source, record.usage.output_tokens) == ("estimated", 0)
    assert record.usage.input_tokens > 0


def test_a_body_of_very_many_fields_is_refused(front: Front) -> None:
    body = "{" + ", ".join(f'"k{number}": 1' for number in range(200_000)) + "}"
    response = front.client.post("/v1/chat/completions", content=body.encode())
    assert response.status_code == 400
    assert "more than 1000 top-level fields" in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_what_a_model_cannot_see_is_the_clients_fault_and_not_its_deployments(tmp_path: Path, path: str) -> None:
    """Clients that send images to a llama.cpp without a projector must not open the breaker for all others."""
    with Lab() as lab, Lab() as other, Front(tmp_path) as front:
        front.publish(
            [provider("blind", lab.address()), provider("seeing", other.address())],
            [model("chat", "blind"), model("either", "blind", fallback=("seeing",))],
        )
        error = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
        rule = [{"order": {"status": 500, "error": error, "error_type": "server_error"}, "times": 31}]
        httpx.post(f"{lab.url}/lab/script", json=rule).raise_for_status()
        body = {"model": "chat", "max_tokens": 9, "messages": [{"role": "user", "content": "see"}]}
        for _ in range(30):
            got = front.client.post(path, json=body)
            assert got.status_code == 400
            assert got.headers["x-penstock-error-source"] == "client"
            assert got.json()["error"]["code"] == "unsupported_content"
            assert got.json()["error"]["message"] == "This model takes no image input."
        got = front.client.post(path, json=body | {"model": "either"})
        assert (got.status_code, got.headers["x-penstock-deployment"]) == (200, "seeing")
        assert front.chat().status_code == 200, "the breaker is closed"
