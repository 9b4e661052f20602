"""What makes a model's answers other ones."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from penstock.gateway.cache.rule import rule_of
from penstock.snapshot.config import Balance, Cache, Deployment, Model, Target
from penstock.snapshot.fleet import Replica, ReplicaState
from penstock.types.address import Address
from tests.processes import model, provider

HOSTED = provider("hosted", Address(host="a.example", port=443, tls=True))
ENGINE = Deployment("engine", "openai", "engine", True, None, 8, 64)
MODEL = model("chat", "hosted", "engine", fallback=("spare",), cache=Cache(60.0, 1000))
RUNNING = Replica("engine/0", "engine", "v1", ReplicaState.READY, "/run/e", 1)


def fingerprint(
    of: Model = MODEL,
    hosted: Deployment = HOSTED,
    engine: Deployment = ENGINE,
    replicas: tuple[Replica, ...] = (RUNNING,),
    capped: bool = False,
) -> str:
    rule = rule_of(
        of, capped, {"hosted": hosted, "engine": engine, "spare": provider("spare", Address())}, {"engine": replicas}
    )
    assert rule is not None
    return rule.fingerprint


def changed(thing: Any, **fields: object) -> Any:
    return msgspec.structs.replace(thing, **fields)


def test_a_model_without_a_cache_has_no_rule() -> None:
    assert rule_of(model("chat", "hosted"), False, {"hosted": HOSTED}, {}) is None


def test_a_rule_is_what_the_policies_say_for_the_targets() -> None:
    rule = rule_of(MODEL, False, {}, {})
    assert rule is not None
    assert (rule.ttl_s, rule.max_entry, rule.targets) == (60.0, 1000, frozenset({"hosted", "engine"}))


@pytest.mark.parametrize(
    "other",
    [
        {"of": changed(MODEL, name="other")},
        {"of": changed(MODEL, targets=(Target("hosted"),))},
        {"of": changed(MODEL, fallback=())},
        {"hosted": changed(HOSTED, model="newer")},
        {"hosted": changed(HOSTED, address=Address(host="b.example"))},
        {"hosted": changed(HOSTED, provider="another")},
        {"replicas": (changed(RUNNING, version="v2"),)},
        {"replicas": (RUNNING, changed(RUNNING, version="v2"))},
        {"capped": True},
    ],
)
def test_what_answers_depend_on_makes_other_ones(other: dict[str, Any]) -> None:
    assert fingerprint(**other) != fingerprint()


@pytest.mark.parametrize(
    "other",
    [
        {"of": changed(MODEL, targets=(Target("engine", 3.0), Target("hosted")))},
        {"of": changed(MODEL, total_s=1.0, cache=Cache(1.0, 1))},
        {"hosted": changed(HOSTED, price=None, seats=1, queue=1)},
        {"hosted": changed(HOSTED, context=8000, references=True)},
        {"engine": changed(ENGINE, balance=Balance.ROUND_ROBIN)},
        {"replicas": (RUNNING, changed(RUNNING, name="engine/1", state=ReplicaState.STARTING))},
        {"replicas": (changed(RUNNING, state=ReplicaState.FAILED, generation=7, pid=5),)},
    ],
)
def test_what_they_do_not_depend_on_does_not(other: dict[str, Any]) -> None:
    assert fingerprint(**other) == fingerprint()
