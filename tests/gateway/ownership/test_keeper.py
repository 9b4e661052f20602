"""Who keeps a response: for its tenant alone, and for those of its callers who may use a model that has it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.identity.caller import Caller, Callers
from penstock.gateway.ownership.keeper import keeper_of
from penstock.gateway.ownership.tags import Kind, Tags
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.gateway.view import View, compile_view
from penstock.snapshot.config import Config, Deployment, GatewaySettings
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.types.address import Address
from penstock.types.dialect import Dialect
from penstock.types.errors import ResponseNotFound
from tests.processes import PRICE, model, provider

TAGS = Tags(b"p" * 32)
ADDRESS = Address(host="127.0.0.1", port=1)
NATIVE = (Dialect.RESPONSES,)
HAS = {"one": {"a", "b"}, "two": {"b", "mini/0", "mini/1"}}
OWNERS = ["a", "b", "mini/0", "mini/1", "unused", "chats", "mini", "gone"]


def view() -> View:
    engine = Deployment("mini", "openai", "mini", engine=True, price=PRICE, seats=8, queue=64, speaks=NATIVE)
    states = (ReplicaState.READY, ReplicaState.STARTING)
    replicas = tuple(Replica(f"mini/{n}", "mini", "v", state, f"/run/{n}", 1) for n, state in enumerate(states))
    known = {name: provider(name, ADDRESS, speaks=NATIVE) for name in ("a", "b", "unused")}
    models = (model("one", "a", "chats", fallback=("b",)), model("two", "b", "mini"))
    config = Config(
        1,
        {**known, "chats": provider("chats", ADDRESS), "mini": engine},
        {each.name: each for each in models},
        GatewaySettings(),
    )
    return compile_view(config, Callers({}), Fleet(1, replicas), Endpoints({}, time.monotonic), {})


VIEW = view()


@given(
    owner=st.sampled_from(OWNERS),
    made_for=st.sampled_from("tu"),
    asking=st.sampled_from("tu"),
    models=st.none() | st.frozensets(st.sampled_from([*HAS, "none"])),
    name=st.text(min_size=1, max_size=500),
)
def test_it_is_found_by_whom_it_is_for(
    owner: str, made_for: str, asking: str, models: frozenset[str] | None, name: str
) -> None:
    caller = Caller("k", asking, models)
    tagged = TAGS.tagged(Kind.RESPONSE, made_for, owner, name)
    usable = [each for each, owners in HAS.items() if owner in owners and caller.may_use(each)]
    if asking == made_for and usable:
        found = keeper_of(tagged, caller, TAGS, VIEW)
        assert (found.endpoint, found.original, found.route.model.name) == (owner, name, usable[0])
        assert found.place.name == owner.partition("/")[0]
    else:
        with pytest.raises(ResponseNotFound):
            keeper_of(tagged, caller, TAGS, VIEW)


@given(st.text())
def test_what_has_no_tag_of_ours_is_nobodys(given_: str) -> None:
    with pytest.raises(ResponseNotFound):
        keeper_of(given_, Caller("k", "t"), TAGS, VIEW)


def test_what_is_sealed_is_no_name() -> None:
    with pytest.raises(ResponseNotFound):
        keeper_of(TAGS.tagged(Kind.SEALED, "t", "a", "resp_1"), Caller("k", "t"), TAGS, VIEW)
