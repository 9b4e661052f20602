"""Exchanges that wait for a seat of a deployment, in one worker that keeps its seats itself."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from penstock.journal.records import Settled
from penstock.types.priority import Priority
from tests.gateway.test_serve import order
from tests.processes import Front, Lab, eventually, model, provider


class Asking:
    """A request in a thread of its own."""

    def __init__(self, front: Front, **fields: str) -> None:
        self._answer: httpx.Response | None = None
        body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}

        def ask() -> None:
            headers = {"authorization": f"Bearer {front.key}", **fields}
            self._answer = httpx.post(f"{front.url}/v1/chat/completions", json=body, headers=headers, timeout=60)

        self._thread = threading.Thread(target=ask)
        self._thread.start()

    @property
    def answered(self) -> bool:
        return not self._thread.is_alive()

    def answer(self) -> httpx.Response:
        self._thread.join()
        assert self._answer is not None
        return self._answer


@contextmanager
def full(front: Front, lab: Lab) -> Iterator[None]:
    """Keep one seat of the model `chat` taken for as long as the block lasts."""
    held = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": order(stall_after=1)}]}
    with (
        httpx.Client(base_url=front.url, headers={"authorization": f"Bearer {front.key}"}) as client,
        client.stream("POST", "/v1/chat/completions", json=held) as stalled,
    ):
        pieces = stalled.iter_raw()  # kept, for its end would be that of the stream
        assert next(pieces)
        yield


def explained(front: Front, answer: httpx.Response, step: str) -> str:
    return dict(front.settled(answer.headers["x-request-id"]).explanation).get(step, "")


def test_one_waits_and_is_answered_and_those_for_whom_there_is_no_room_are_told_at_once(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("lab", lab.address(), seats=1, queue=1)], [model("chat", "lab")])
        with full(front, lab):
            both = [Asking(front), Asking(front)]
            (refused,) = eventually(lambda: [each for each in both if each.answered], "a refusal")
            both.remove(refused)
        assert refused.answer().status_code == 503
        assert refused.answer().headers["retry-after"] == "1"
        assert refused.answer().json()["error"]["code"] == "overloaded"
        assert explained(front, refused.answer(), "queue").startswith("lab: full after ")
        answer = both[0].answer()
        assert answer.status_code == 200
        text = explained(front, answer, "queue")
        assert text.startswith("waited ")
        assert text.endswith(" ms for lab, 0 ahead")


def test_waiting_ends_with_the_first_token_time(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        patient, hasty = model("chat", "lab"), model("hasty", "lab", first_token_s=0.2)
        front.publish([provider("lab", lab.address(), seats=1, queue=1)], [patient, hasty])
        with full(front, lab):
            response = front.chat(model="hasty")
        assert response.status_code == 503
        assert response.headers["retry-after"] == "2"
        assert explained(front, response, "queue").startswith("lab: expired after ")


def test_a_deployment_that_is_not_the_last_is_waited_for_briefly(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        small, big = provider("small", lab.address(), seats=1, queue=9), provider("big", lab.address())
        front.publish([small, big], [model("chat", "small"), model("either", "small", fallback=("big",))])
        with full(front, lab):
            response = front.chat(model="either")
        assert (response.status_code, response.headers["x-penstock-deployment"]) == (200, "big")
        assert explained(front, response, "queue").startswith("small: expired after ")


def test_a_client_that_leaves_the_queue_makes_room_for_another(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("lab", lab.address(), seats=1, queue=1)], [model("chat", "lab")])
        content = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "x"}]}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n"
        with full(front, lab):
            with ExitStack() as stack:
                clients = [stack.enter_context(socket.create_connection(("127.0.0.1", front.port))) for _ in range(2)]
                for client in clients:
                    client.sendall(head.format(front.key, len(content)).encode() + content)
                eventually(lambda: _ended(front) == ["refused"], "the one there is no room for")
            eventually(lambda: sorted(_ended(front)) == ["cancelled", "refused"], "the other one leaving")
            both = [Asking(front), Asking(front)]
            eventually(lambda: [each for each in both if each.answered], "a refusal")
        assert sorted(each.answer().status_code for each in both) == [200, 503]


def _ended(front: Front) -> list[str]:
    return [record.outcome for record in front.journal() if isinstance(record, Settled)]


def test_a_seat_is_free_again_however_its_exchange_ends(tmp_path: Path) -> None:
    outcomes: list[tuple[dict[str, object], int]] = [
        ({}, 200),
        ({"status": 400}, 400),
        ({"status": 500}, 502),
        ({"status": 429}, 503),
        ({"body": "garbage"}, 502),
        ({"cut": "before_head"}, 502),
        ({"cut": "after_head"}, 502),
        ({"stall": "before_head"}, 504),
        ({"stall": "after_head"}, 504),
    ]
    with Lab() as lab, Front(tmp_path) as front:
        models = [model("chat", "lab"), model("short", "lab", first_token_s=0.3, total_s=0.3)]
        front.publish([provider("lab", lab.address(), seats=1, queue=1)], models)
        for fields, status in outcomes:
            for stream in (False, True):
                broken = front.chat(order(**fields), model="short", stream=stream)
                assert broken.status_code == status, fields
                assert front.chat().status_code == 200, fields


def test_a_client_may_lower_its_priority_and_not_raise_it(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        models = [model("chat", "lab"), model("slow", "lab", first_token_s=0.1, priority=Priority.LOW)]
        models.append(model("quick", "lab", first_token_s=0.1, priority=Priority.HIGH))
        front.publish([provider("lab", lab.address(), seats=1, queue=4)], models)
        with full(front, lab):
            for name, asked, had in (
                ("slow", "", "low"),
                ("slow", "high", "low"),
                ("quick", "", "high"),
                ("quick", "Normal", "normal"),
                ("quick", "low", "low"),
            ):
                front.client.headers["x-penstock-priority"] = asked
                if not asked:
                    del front.client.headers["x-penstock-priority"]
                response = front.chat(model=name)
                assert response.status_code == 503
                assert explained(front, response, "queue").endswith(f" ms as {had}"), (name, asked)


@pytest.mark.parametrize("nonsense", ["urgent", "0", "high, low"])
def test_a_priority_that_there_is_not_is_refused(front: Front, nonsense: str) -> None:
    body = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
    response = front.client.post("/v1/chat/completions", json=body, headers={"x-penstock-priority": nonsense})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "invalid_value"
    assert "high, normal, low" in response.json()["error"]["message"]


def test_nobody_waits_for_what_has_no_words_for_the_request(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish(
            [provider("anthropic", lab.address(), provider="anthropic", seats=1), provider("openai", lab.address())],
            [model("chat", "anthropic"), model("either", "anthropic", fallback=("openai",))],
        )
        asked = {"messages": [{"role": "user", "content": "hello"}], "logprobs": True}
        with full(front, lab):
            refused = front.client.post("/v1/chat/completions", json=asked | {"model": "chat"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_parameter")
            refused = front.client.post("/v1/embeddings", json={"model": "chat", "input": "hello"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_operation")
            answer = front.client.post("/v1/chat/completions", json=asked | {"model": "either"})
            assert answer.headers["x-penstock-deployment"] == "openai"
            assert explained(front, answer, "queue") == ""


def test_a_request_that_waited_is_worded_for_what_its_deployment_has_become(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        claude = {"provider": "anthropic", "seats": 1, "queue": 1}
        front.publish([provider("claude", lab.address(), model="early", **claude)], [model("chat", "claude")])
        with full(front, lab):
            both = [Asking(front), Asking(front)]  # where one finds no room the other one waits
            (refused,) = eventually(lambda: [each for each in both if each.answered], "a refusal")
            both.remove(refused)
            changed = provider("claude", lab.address(), model="late", **claude)
            front.publish([changed], [model("chat", "claude"), model("other", "claude")])
            eventually(lambda: front.client.get("/v1/models/other").status_code == 200, "the change")
        assert both[0].answer().status_code == 200
        assert json.loads(lab.last()[0]["body"])["model"] == "late"
