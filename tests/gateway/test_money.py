"""What an exchange cost, on the wire and in the journal: the version of its price, unknown prices, tags."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from penstock.journal.records import Opened, Record, Settled
from penstock.pricing.price import Price, Rates, Tier, cost_nano
from tests.processes import PRICE, Front, Lab, front_with_lab, model, provider
from tests.records.exchanges import settled

VERSIONED = PRICE.versioned("genai-prices 1.2.3")
TIERED = Price(10**9, 10**9, tiers=(Tier(5, Rates(2 * 10**9, 3 * 10**9)),), version="stack 1")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Lab]]:
    with front_with_lab(tmp_path_factory.mktemp("money")) as (front, lab):
        front.publish(
            [
                provider("priced", lab.address(), price=VERSIONED),
                provider("far", lab.address(), price=None),
                provider("tiered", lab.address(), price=TIERED),
            ],
            [model("chat", "priced"), model("far", "far"), model("tiered", "tiered")],
        )
        yield front, lab


def ask(front: Front, name: str = "chat", tags: str | None = None, **fields: Any) -> tuple[Any, Settled]:
    body = {"model": name, "messages": [{"role": "user", "content": "one two three four five six"}], **fields}
    headers = {} if tags is None else {"x-penstock-tags": tags}
    response = front.client.post("/v1/chat/completions", json=body, headers=headers)
    return response, front.settled(response.headers["x-request-id"])


def test_the_version_of_the_price_is_in_the_record_and_its_numbers_in_the_explanation(front: Front) -> None:
    response, record = ask(front)
    assert response.status_code == 200
    assert (record.price, record.cost_known) == (VERSIONED.version, True)
    said = f"1.0 and 2.0 USD per million tokens in and out ({VERSIONED.version})"
    assert record.explanation[-1] == ("price", said)


def test_a_large_prompt_is_charged_at_its_tier(front: Front) -> None:
    _, record = ask(front, "tiered")
    assert record.usage.input_tokens > 5
    assert record.cost_nano == cost_nano(TIERED, record.usage)
    assert record.cost_nano == record.usage.input_tokens * 2000 + record.usage.output_tokens * 3000


@pytest.mark.parametrize("stream", [False, True])
def test_a_cost_that_nobody_knows_is_not_zero(front: Front, stream: bool) -> None:
    response, record = ask(front, "far", stream=stream)
    assert response.status_code == 200
    if not stream:
        assert response.headers["x-penstock-cost-usd"] == "unknown"
    assert record.usage.output_tokens > 0
    assert (record.cost_known, record.cost_nano, record.price) == (False, 0, "")
    assert record.explanation[-1] == ("price", "not known: neither in the stack nor in the price book")


def test_what_used_nothing_costs_nothing_whatever_the_price(front: Front) -> None:
    order = "lab: " + json.dumps({"status": 500})
    _, record = ask(front, "far", messages=[{"role": "user", "content": order}])
    assert (record.outcome, record.cost_known, record.cost_nano) == ("failed", True, 0)


def test_tags_go_into_the_records_and_not_to_the_upstream(front: Front, lab: Lab) -> None:
    response, record = ask(front, tags="team=search, env=prod")
    assert response.status_code == 200
    assert (record.tags, record.user) == ("env=prod,team=search", front.key_id)
    (opened,) = [entry for entry in front.journal() if isinstance(entry, Opened) and entry.id == record.id]
    assert (opened.tags, opened.user) == (record.tags, record.user)
    (seen,) = lab.last()
    assert not any("tags" in name.lower() for name in dict(seen["headers"]))


def test_bad_tags_are_a_400_that_says_what_they_look_like(front: Front, lab: Lab) -> None:
    before = lab.stats()
    response, record = ask(front, tags="team=search,team=sales")
    assert response.status_code == 400
    assert response.json()["error"] == {
        "message": "The header x-penstock-tags has the tag 'team' twice.",
        "type": "invalid_request_error",
        "param": "x-penstock-tags",
        "code": "invalid_tags",
    }
    assert response.headers["x-penstock-error-source"] == "client"
    assert (record.outcome, record.tags) == ("refused", "")
    assert lab.stats()["requests"] == before["requests"], "nothing was asked of the upstream"


def test_a_record_of_an_older_gateway_is_read_as_it_was_meant() -> None:
    """As one writes that has not been restarted yet while control has."""
    whole = json.loads(msgspec.json.encode(settled(1)))
    older = msgspec.json.decode(json.dumps(whole[: whole.index(settled(1).trace_id) + 2]).encode(), type=Record)
    assert older == settled(1)
    assert isinstance(older, Settled)
    assert older.cost_known
