"""Targets in the gateway's own zone are used while they can be, then the others; in front of three lab upstreams."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from penstock.snapshot.config import Target
from tests.gateway.test_queue import full
from tests.gateway.test_serve import order
from tests.processes import Front, Lab, eventually, model, provider

Zones = tuple[Front, dict[str, Lab]]


@pytest.fixture
def zones(tmp_path: Path) -> Iterator[Zones]:
    """A gateway in `eu`, where one of three targets is, which is the lightest and has one seat; `chat` is it alone."""
    with ExitStack() as stack:
        labs = {name: stack.enter_context(Lab()) for name in ("near", "far", "further")}
        front = stack.enter_context(Front(tmp_path, environ={"PENSTOCK_ZONE": "eu"}))
        targets = (Target("near"), Target("far", 1e6), Target("further"))
        places = {"near": "eu", "far": "us", "further": ""}
        seats = {"near": 1, "far": 2, "further": 2}
        front.publish(
            [
                provider(name, lab.address(), seats=seats[name], queue=9, zone=places[name])
                for name, lab in labs.items()
            ],
            [
                msgspec.structs.replace(model("any"), targets=targets),
                msgspec.structs.replace(model("hasty", first_token_s=0.1), targets=targets),
                model("chat", "near"),
            ],
        )
        yield front, labs


def asked(front: Front, count: int) -> Counter[str]:
    return Counter(front.chat(model="any").headers["x-penstock-deployment"] for _ in range(count))


def explained(front: Front, answer: httpx.Response, step: str) -> str:
    return dict(front.settled(answer.headers["x-request-id"]).explanation).get(step, "")


@contextmanager
def held(front: Front, name: str) -> Iterator[None]:
    """Keep a seat of a model taken for as long as the block lasts, whoever has it."""
    body = {"model": name, "stream": True, "messages": [{"role": "user", "content": order(stall_after=1)}]}
    with front.client.stream("POST", "/v1/chat/completions", json=body) as stalled:
        pieces = stalled.iter_raw()
        assert next(pieces)
        yield


def test_the_zone_answers_while_it_can_whatever_the_weights_are(zones: Zones) -> None:
    front, _ = zones
    assert asked(front, 5) == {"near": 5}
    answer = front.chat(model="any")
    assert explained(front, answer, "route") == "any: near, then far, then further; in eu: the first 1"
    assert explained(front, answer, "zone") == ""


def test_what_the_zone_has_no_seat_for_spills_over_at_once_and_comes_back(zones: Zones) -> None:
    front, _ = zones
    with full(front, zones[1]["near"]):
        answer = front.chat(model="any")
        assert answer.headers["x-penstock-deployment"] == "far"
        assert "x-penstock-degraded" not in answer.headers, "room decides what is drawn, as weights do"
        assert explained(front, answer, "zone") == "no target in eu has a free seat; far in us instead"
        assert explained(front, answer, "queue") == "", "nothing was waited for"
        with held(front, "any"), held(front, "any"):  # the two of `far`, which is drawn all but always
            answer = front.chat(model="any")
            assert answer.headers["x-penstock-deployment"] == "further"
            assert explained(front, answer, "queue") == ""
    eventually(lambda: asked(front, 1) == {"near": 1}, "the seat that came free")


def test_with_no_seat_anywhere_the_exchange_waits_in_its_zone_first(zones: Zones) -> None:
    front, _ = zones
    with full(front, zones[1]["near"]), ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(held(front, "any"))
        answer = front.chat(model="hasty")
    assert answer.status_code == 503
    steps = front.settled(answer.headers["x-request-id"]).explanation
    waited = [text.partition(":")[0] for step, text in steps if step == "queue"]
    assert waited == ["near", "far", "further"]


def test_a_zone_that_has_died_spills_over_and_no_exchange_fails(zones: Zones) -> None:
    front, labs = zones
    assert asked(front, 1) == {"near": 1}
    labs["near"].stop()
    answers = [front.chat(model="any") for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-penstock-deployment"] for answer in answers} == {"far"}
    assert {answer.headers["x-penstock-degraded"] for answer in answers} == {"fallback"}
    assert explained(front, answers[0], "zone") == "all targets in eu have failed; far in us instead"
    assert explained(front, answers[-1], "zone") == "no target in eu may be asked now; far in us instead"


def test_a_request_at_fault_itself_spills_nowhere(zones: Zones) -> None:
    front, labs = zones
    assert front.chat(order(status=400), model="any").status_code == 400
    assert labs["far"].stats()["requests"] == labs["further"].stats()["requests"] == 0
