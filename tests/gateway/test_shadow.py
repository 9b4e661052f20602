"""Shadow traffic over real sockets: what is copied, what is compared, and that no client waits for it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from penstock.journal.records import Opened, Settled
from penstock.pricing.period import Period
from penstock.snapshot.config import Budget, Cache, Limit, Measure, Outage, Shadow
from penstock.types.address import Address
from tests.gateway.streams.client import order
from tests.gateway.test_queue import Asking, full
from tests.processes import Front, Lab, eventually, model, provider

ALL = Shadow("other", 1.0)
NOBODY = Address(host="127.0.0.1", port=1)


@pytest.fixture(scope="module")
def trio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Lab, Lab]]:
    """A gateway, the lab that clients are answered by, and the one that copies go to."""
    with Lab() as lab, Lab() as other, Front(tmp_path_factory.mktemp("shadow")) as front:
        script(other, model="odd-*", order={"content": "a secret of another kind", "completion_tokens": 7})
        few = Limit("default", ("tenant",), Measure.REQUESTS, 2, Outage.LOCAL_SHARE)
        little = Budget("b", "default", ("model",), Period.TOTAL, ("paid",), 50_000_000, Outage.DENY)
        front.publish(
            [
                provider("lab", lab.address()),
                provider("other", other.address()),
                provider("messages", other.address(), provider="anthropic"),
                provider("odd", other.address()),
                provider("gone", NOBODY),
            ],
            [
                model("chat", "lab", shadow=ALL),
                model("never", "lab", shadow=Shadow("other", 0.0)),
                model("few", "lab", shadow=ALL, limits=(few,)),
                model("paid", "lab", shadow=ALL, budgets=(little,)),
                model("kept", "lab", shadow=ALL, cache=Cache(3600, 64 * 1024)),
                model("odd", "lab", shadow=Shadow("odd", 1.0)),
                model("lost", "lab", shadow=Shadow("gone", 1.0)),
                model("itself", "other", fallback=("lab",), shadow=ALL),
                model("translated", "lab", shadow=Shadow("messages", 1.0)),
            ],
        )
        yield front, lab, other


def copies(front: Front, request_id: str) -> list[Settled]:
    """Return the settled copies of a request."""
    told = f"a copy of {request_id},"
    settled = (record for record in front.journal() if isinstance(record, Settled))
    return [record for record in settled if any(word.startswith(told) for _, word in record.explanation)]


def copy_of(front: Front, response: httpx.Response) -> Settled:
    """Return the one copy of an answered request, waiting for it."""
    (found,) = eventually(lambda: copies(front, response.headers["x-request-id"]), "the copy")
    return found


def script(lab: Lab, **rule: object) -> None:
    """Order a lab about."""
    httpx.post(f"{lab.url}/lab/script", json={"rules": [rule]}).raise_for_status()


def said(record: Settled, step: str) -> str:
    """Return what an explanation says of a step."""
    return next(word for name, word in record.explanation if name == step)


@pytest.mark.parametrize("stream", [False, True])
def test_a_copy_is_an_exchange_of_its_own(trio: tuple[Front, Lab, Lab], stream: bool) -> None:
    front, _, other = trio
    response = front.chat(f"equal words {stream}", stream=stream)
    assert response.status_code == 200
    assert response.headers["x-penstock-deployment"] == "lab"
    copy, original = copy_of(front, response), front.settled(response.headers["x-request-id"])
    assert (copy.outcome, copy.status, copy.deployment, copy.stream) == ("answered", 200, "other", stream)
    assert (copy.key, copy.tenant, copy.user, copy.model) == ("shadow", "(shadow)", "shadow", "chat (shadow)")
    assert copy.usage == original.usage
    assert copy.cost_nano == original.cost_nano > 0
    assert (copy.first_content_ms is not None) is stream
    assert copy.id in said(original, "shadow")
    assert said(copy, "shadow") == f"a copy of {original.id}, which lab answered"
    times = r"total \d+ ms against \d+ ms; " + (r"first content \d+ ms against \d+ ms; " if stream else "")
    figures = r"tokens (\d+ \+ \d+) against \1; USD (\d\.\d+) against \2"
    assert re.fullmatch(f"the same text; {times}{figures}", said(copy, "comparison"))
    opened = [record for record in front.journal() if isinstance(record, Opened) and record.id == copy.id]
    assert [record.tenant for record in opened] == ["(shadow)"]
    (request,) = other.last()
    asked = json.loads(request["body"])
    assert asked["messages"] == [{"role": "user", "content": f"equal words {stream}"}]
    assert asked["model"] == "other-upstream"


@pytest.mark.parametrize("stream", [False, True])
def test_a_difference_is_told_without_its_words(trio: tuple[Front, Lab, Lab], stream: bool) -> None:
    front, _, _ = trio
    response = front.chat("a secret of one kind", model="odd", stream=stream)
    copy, original = copy_of(front, response), front.settled(response.headers["x-request-id"])
    words = said(copy, "comparison")
    assert re.match(r"another text \(similarity 0\.[5-9]\d\); ", words)
    assert f"tokens {copy.usage.input_tokens} + 7 against {original.usage.input_tokens} + 6; " in words
    assert "secret" not in str(copy)


def test_what_is_not_drawn_is_not_copied(trio: tuple[Front, Lab, Lab]) -> None:
    front, _, other = trio
    before = other.stats()["requests"]
    response = front.chat("not drawn", model="never")
    copy_of(front, front.chat("drawn"))
    assert other.stats()["requests"] == before + 1
    assert copies(front, response.headers["x-request-id"]) == []
    assert "shadow" not in dict(front.settled(response.headers["x-request-id"]).explanation)


def test_limits_and_budgets_are_the_clients_own(trio: tuple[Front, Lab, Lab]) -> None:
    """Had its copies counted, the third request would be beyond the limit, and the second beyond the budget."""
    front, _, _ = trio
    copy_of(front, front.chat("limited", model="few"))
    second = front.chat("limited", model="few")
    assert second.status_code == 200
    copy_of(front, second)
    for _ in range(2):
        response = front.chat(order(completion_tokens=10_000), model="paid", max_tokens=10_000)
        assert response.status_code == 200
        assert copy_of(front, response).cost_nano > 20_000_000


def test_only_what_an_upstream_has_answered_is_copied(trio: tuple[Front, Lab, Lab]) -> None:
    """Not what failed, nor what the cache has."""
    front, _, other = trio
    assert front.chat(order(status=500)).status_code == 502
    copy_of(front, front.chat("kept once", model="kept"))
    before = other.stats()["requests"]
    assert front.chat("kept once", model="kept").headers["x-penstock-cache"] == "exact"
    broken = front.chat(order(events=3, error_after=1), stream=True)
    assert "error" in broken.text
    copy_of(front, front.chat("the last"))
    assert other.stats()["requests"] == before + 1


def test_the_deployment_that_answered_is_not_asked_again(trio: tuple[Front, Lab, Lab]) -> None:
    front, _, other = trio
    before = other.stats()["requests"]
    response = front.chat("itself", model="itself")
    assert response.headers["x-penstock-deployment"] == "other"
    copy_of(front, front.chat("the last"))
    assert other.stats()["requests"] == before + 2
    assert copies(front, response.headers["x-request-id"]) == []


def test_a_copy_that_fails_says_so(trio: tuple[Front, Lab, Lab]) -> None:
    front, _, _ = trio
    copy = copy_of(front, front.chat("lost", model="lost"))
    assert (copy.outcome, copy.cost_nano) == ("failed", 0)
    assert said(copy, "comparison") == "none, as the copy is failed"


@pytest.mark.parametrize("stream", [False, True])
def test_a_copy_is_translated_where_it_has_to_be(trio: tuple[Front, Lab, Lab], stream: bool) -> None:
    front, _, _ = trio
    copy = copy_of(front, front.chat("the same in other words", model="translated", stream=stream))
    assert (copy.outcome, copy.deployment) == ("answered", "messages")
    assert said(copy, "comparison").startswith("the same text")


def test_of_a_long_answer_the_beginning_is_compared(trio: tuple[Front, Lab, Lab]) -> None:
    front, _, _ = trio
    response = front.chat(order(size=400_000, tokens_per_event=1000), stream=True)
    copy = copy_of(front, response)
    assert copy.usage == front.settled(response.headers["x-request-id"]).usage
    assert said(copy, "comparison").startswith("texts that were not kept whole (similarity 1.00 as far as they go)")


def test_what_does_more_than_to_be_answered_is_not_done_twice(trio: tuple[Front, Lab, Lab]) -> None:
    front, _, other = trio
    before = other.stats()["requests"]
    response = front.chat("once", background=True)
    assert response.status_code == 200
    copy_of(front, front.chat("the last"))
    assert other.stats()["requests"] == before + 1
    assert said(front.settled(response.headers["x-request-id"]), "shadow") == "not copied: it has background"


def test_embeddings_are_compared_by_what_they_took(trio: tuple[Front, Lab, Lab]) -> None:
    front, _, _ = trio
    response = front.client.post("/v1/embeddings", json={"model": "chat", "input": "words"})
    copy = copy_of(front, response)
    assert (copy.outcome, copy.operation) == ("answered", "embeddings")
    assert said(copy, "comparison").startswith("texts that cannot be compared; total ")


def test_a_client_goes_before_a_copy_that_waits_for_a_seat(tmp_path: Path) -> None:
    """There is one place in the queue, and the copy has it until a client needs it."""
    with Lab() as lab, Lab() as other, Front(tmp_path) as front:
        front.publish(
            [provider("lab", lab.address()), provider("other", other.address(), seats=1, queue=1)],
            [model("chat", "other"), model("watched", "lab", shadow=ALL)],
        )
        with full(front, other):
            original = front.chat("hello", model="watched")
            asking = Asking(front)
            copy = copy_of(front, original)
        assert asking.answer().status_code == 200
        assert (copy.outcome, said(copy, "comparison")) == ("refused", "none, as the copy is refused")
        assert said(copy, "queue").startswith("other: displaced after ")


def test_a_shadow_that_stalls_is_nobodys_problem(tmp_path: Path) -> None:
    """Clients go on, copies have a bound, and the worker ends at once; what was cut is settled."""
    with Lab() as lab, Lab() as other, Front(tmp_path) as front:
        script(other, order={"stall": "before_head"})
        front.publish(
            [provider("lab", lab.address()), provider("other", other.address(), seats=64)],
            [model("chat", "lab", shadow=ALL, first_token_s=600.0, total_s=600.0)],
            drain_s=600.0,
        )
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: front.chat(f"number {number}", stream=number % 2 == 0), range(60)))
        assert [answer.status_code for answer in answers] == [200] * 60
        eventually(lambda: other.stats()["stalled"] == 32, "the copies")
        assert other.stats()["requests"] == 32, "and not more"
        assert front.stop() == 0
        cut = [record for record in front.journal() if isinstance(record, Settled) and record.key == "shadow"]
        assert [record.outcome for record in cut] == ["cancelled"] * 32
        assert all(said(record, "comparison") == "none, as the copy is cancelled" for record in cut)
