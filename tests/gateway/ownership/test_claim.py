"""What an exchange has a claim to, and where it goes for it."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.dialects import openai, responses
from penstock.gateway.dialects.call import Call
from penstock.gateway.identity.caller import Callers
from penstock.gateway.ownership.claim import Claim, claim_of
from penstock.gateway.ownership.tags import Kind, Tags
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.gateway.view import compile_view
from penstock.snapshot.config import Config, Deployment, GatewaySettings, Limit, Measure, Outage
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.types.address import Address
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest
from tests.processes import PRICE, model, provider

TAGS = Tags(b"p" * 32)
ADDRESS = Address(host="127.0.0.1", port=1)
NATIVE = (Dialect.RESPONSES,)
TOKENS = Limit("default", ("key",), Measure.TOKENS, 4000, Outage.LOCAL_SHARE)
ENGINE = Deployment("mini", "openai", "mini", engine=True, price=PRICE, seats=8, queue=64, speaks=NATIVE)
FLEET = Fleet(1, tuple(Replica(f"mini/{n}", "mini", "v", ReplicaState.READY, f"/run/{n}", 1) for n in range(2)))
OWNERS = ["a", "b", "spare", "mini/0", "mini/1"]

VIEW = compile_view(
    Config(
        1,
        {
            **{name: provider(name, ADDRESS, speaks=NATIVE) for name in ("a", "b", "spare", "elsewhere")},
            "known": provider("known", ADDRESS, speaks=NATIVE, context=1000, references=True),
            "larger": provider("larger", ADDRESS, speaks=(Dialect.CHAT,), context=5000, references=True),
            "chats": provider("chats", ADDRESS),
            "mini": ENGINE,
        },
        {
            each.name: each
            for each in (
                model("chat", "a", "b", "chats", fallback=("spare", "mini")),
                model("counted", "a", limits=(TOKENS,)),
                model("bounded", "known", "a", fallback=("larger",), limits=(TOKENS,)),
            )
        },
        GatewaySettings(),
    ),
    Callers({}),
    FLEET,
    Endpoints({}, time.monotonic),
    {},
)


def call_of(**fields: Any) -> Call:
    return responses.parse(json.dumps({"model": "m", "input": "hi", **fields}).encode())


def claimed(call: Call, tenant: str = "t", model: str = "chat") -> Claim:
    claim = claim_of(call, tenant, TAGS, VIEW.routes[model], VIEW.places)
    assert claim is not None
    return claim


def kept(owner: str, tenant: str = "t") -> str:
    return TAGS.tagged(Kind.RESPONSE, tenant, owner, "resp_1")


def sealed(*owners: str) -> Call:
    items = [{"type": "reasoning", "encrypted_content": TAGS.tagged(Kind.SEALED, "t", each, "g")} for each in owners]
    return call_of(input=items)


@pytest.mark.parametrize("owner", OWNERS)
def test_a_response_binds_to_who_keeps_it(owner: str) -> None:
    claim = claimed(call_of(previous_response_id=kept(owner)))
    name = owner.partition("/")[0]
    assert claim.plan is not None
    assert (claim.owner, claim.plan.names, claim.plan.weights, len(claim.plan.prices)) == (owner, (name,), (1.0,), 1)
    assert json.loads(claim.call.document.body)["previous_response_id"] == "resp_1"
    narrowed = claim.narrowed(VIEW.places[name])
    assert ([endpoint.name for endpoint in narrowed.endpoints], narrowed.coming) == ([owner], False)


@given(
    st.sampled_from([*OWNERS, "elsewhere", "chats", "mini", "mini/2"]), st.sampled_from("tuv"), st.sampled_from("tuv")
)
def test_only_its_tenant_finds_it_and_only_where_it_is(owner: str, made_for: str, asking: str) -> None:
    call = call_of(previous_response_id=kept(owner, made_for))
    if asking == made_for and owner in OWNERS:
        assert claimed(call, asking).owner == owner
    else:
        with pytest.raises(InvalidRequest) as caught:
            claimed(call, asking)
        assert caught.value.code == "previous_response_not_found"


def test_an_error_repeats_little() -> None:
    with pytest.raises(InvalidRequest) as caught:
        claimed(call_of(previous_response_id="x" * 100_000))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("owner", ["a", "b", "spare", "mini/1"])
def test_sealed_items_go_home_first_and_then_where_they_were_drawn(owner: str) -> None:
    claim, home = claimed(sealed(owner, owner)), owner.partition("/")[0]
    assert (claim.plan, claim.owner, claim.home, claim.replica) == (None, "", home, owner)
    drawn = msgspec.structs.replace(VIEW.routes["chat"].plans[1], weights=(0.1, 0.2, 0.7))  # which are in use
    led = claim.led(drawn)
    assert led.first == home
    assert "sealed" in led.explained[1]
    assert msgspec.structs.replace(led, home="", explained=drawn.explained) == drawn
    assert claim.narrowed(VIEW.places["a"]) is VIEW.places["a"]


def test_sealed_items_of_several_go_wherever_they_are_drawn() -> None:
    drawn = VIEW.routes["chat"].plans[1]
    for call in (sealed("a", "b"), sealed("elsewhere"), call_of()):
        claim = claimed(call)
        assert claim.plan is None
        assert claim.led(drawn) is drawn
    assert drawn.first == "b"


def test_what_is_counted_needs_a_bound() -> None:
    with pytest.raises(InvalidRequest) as caught:
        claimed(call_of(previous_response_id=kept("a")), model="counted")
    assert "deployments.a.context" in str(caught.value)
    plain = claimed(call_of(), model="counted")
    assert plain.call.unseen == 0
    found = claimed(call_of(previous_response_id=kept("known")), model="bounded")
    assert found.call.most_input == len(found.call.document.body) + 1000
    assert claimed(call_of(conversation="c"), model="bounded").call.unseen == 5000, "the largest that allows it"
    assert claimed(call_of(conversation="c"), model="counted").call.unseen == 0, "nobody there allows it"
    assert claimed(call_of(conversation="c")).call.unseen == 0, "nothing is counted"
    thought = call_of(input=[{"type": "reasoning", "id": "rs_1", "summary": []}])
    assert claimed(thought, model="bounded").call.unseen == 5000, "what is behind its name counts likewise"
    assert claimed(thought, model="counted").call.unseen == 0, "nobody there is asked with it"


def test_an_ordinary_chat_has_no_claim() -> None:
    call = openai.parse(Dialect.CHAT, b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
    assert claim_of(call, "t", TAGS, VIEW.routes["chat"], VIEW.places) is None
