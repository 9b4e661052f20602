from __future__ import annotations

import json
from pathlib import Path

import pytest

from penstock.auth.secrets import SecretRef
from penstock.pricing.period import Period
from penstock.pricing.price import Price
from penstock.snapshot.config import (
    Balance,
    Cache,
    Config,
    GatewaySettings,
    Limit,
    Measure,
    Model,
    Outage,
    Shadow,
    Target,
    Tls,
)
from penstock.snapshot.file import Reader, publish
from penstock.snapshot.fleet import Desired, EngineSpec
from penstock.stack.compile import config_of, desired_of
from penstock.types.address import Address
from penstock.types.priority import Priority
from tests.stack.reading import read

STACK = """\
version: 1
gateway:
  max_body: 1MiB
  drain: 1500ms
  commit_after: 5s
  tls: {certificate: c.pem, key: k.pem}
deployments:
  mini:
    engine: llama.cpp
    weights: mini.gguf
    replicas: 2
    context: 4096
    parallel: 4
    threads: 2
    queue: 5
    balance: prefix
    prompt_cache: 65536
    price: {input: 0.02, output: 0.000000001, cache_read: 0}
  large:
    base_url: https://host/v1
    model: gpt-4o-mini
    api_key: file:/run/secrets/key
    ca: ca.pem
    zone: eu-1
    max_in_flight: 10
    queue: 7
    context: 128000
    references: allow
models:
  chat: {targets: {large: 3, mini: 0.5}, fallback: [mini], timeout: {total: 10s}, weights: adaptive}
"""


def test_the_config_is_what_gateways_need() -> None:
    config = config_of(read(STACK), version=7, created=1_700_000_000, workers=4)
    assert config.version == 7
    mini, large = config.deployments["mini"], config.deployments["large"]
    assert (mini.provider, mini.model, mini.engine, mini.address, mini.api_key) == ("openai", "mini", True, None, None)
    assert mini.price == Price(input=20_000_000, output=1, cache_read=0).versioned("stack")
    assert (mini.seats, mini.queue) == (4, 5)
    assert (mini.balance, mini.prompt_cache) == (Balance.PREFIX, 65536)
    assert (large.provider, large.model, large.engine) == ("openai", "gpt-4o-mini", False)
    assert (large.seats, large.queue) == (10, 7)
    assert [(each.context, each.references) for each in (mini, large)] == [(4096, False), (128_000, True)]
    assert (mini.zone, large.zone) == ("", "eu-1")
    assert large.address == Address("host", 443, tls=True, path="/v1", ca="/srv/stack/ca.pem")
    assert large.api_key == SecretRef(file="/run/secrets/key")
    assert large.price is None  # the price book knows the model, but not at this address
    assert config.models == {
        "chat": Model(
            name="chat",
            targets=(Target("large", 3.0), Target("mini", 0.5)),
            fallback=("mini",),
            first_token_s=10.0,  # the default of 30s is longer than the total
            total_s=10.0,
            created=1_700_000_000,
            adaptive=True,
        )
    }
    assert config.gateway == GatewaySettings(
        max_body=1024 * 1024,
        drain_s=1.5,
        commit_after_s=5.0,
        tls=Tls("/srv/stack/c.pem", "/srv/stack/k.pem"),
        workers=4,
    )


@pytest.mark.parametrize(
    ("said", "held"),
    [
        ([], Priority.NORMAL),
        (["high"], Priority.HIGH),
        (["high", None], Priority.HIGH),
        (["high", "low", "normal"], Priority.LOW),
    ],
)
def test_of_the_priorities_of_a_models_policies_the_lowest_holds(said: list[str | None], held: Priority) -> None:
    policies = {f"p{number}": {"priority": word} if word else {} for number, word in enumerate(said)}
    text = f"version: 1\ndeployments: {{a: {{model: a, base_url: http://a/v1}}}}\npolicies: {json.dumps(policies)}\n"
    text += f"models: {{m: {{targets: a, policies: {json.dumps(list(policies))}}}}}\n"
    assert config_of(read(text), 1, 0, workers=1).models["m"].priority is held


def test_the_engines_are_what_the_node_runs() -> None:
    desired = desired_of(read(STACK), version=3)
    assert desired.version == 3
    (spec,) = desired.engines
    assert spec == EngineSpec(
        deployment="mini",
        version=spec.version,
        engine="llama.cpp",
        weights="/srv/stack/mini.gguf",
        replicas=2,
        context=4096,
        parallel=4,
        threads=2,
    )
    assert len(bytes.fromhex(spec.version)) == 4


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("replicas: 2", "replicas: 5", True),
        ("queue: 5", "queue: 9", True),
        ("max_in_flight: 10", "max_in_flight: 11", True),
        ("{input: 0.02,", "{input: 0.03,", True),
        ("mini.gguf", "other.gguf", False),
        ("context: 4096", "context: 2048", False),
        ("parallel: 4", "parallel: 5", False),
        ("threads: 2", "threads: 3", False),
    ],
)
def test_a_new_version_is_what_needs_new_processes(old: str, new: str, same: bool) -> None:
    assert old in STACK
    (before,) = desired_of(read(STACK), 1).engines
    (after,) = desired_of(read(STACK.replace(old, new)), 1).engines
    assert (before.version == after.version) is same


def test_the_documents_survive_publication(tmp_path: Path) -> None:
    stack = read(STACK)
    config, desired = config_of(stack, 1, 0, 2), desired_of(stack, 1)
    publish(tmp_path, config)
    publish(tmp_path, desired)
    assert Reader(tmp_path, Config).changed() == config
    assert Reader(tmp_path, Desired).changed() == desired


def test_compiling_twice_gives_the_same() -> None:
    assert config_of(read(STACK), 1, 0, 2) == config_of(read(STACK), 1, 0, 2)
    assert desired_of(read(STACK), 1) == desired_of(read(STACK), 1)


POLICIES = """\
version: 1
deployments: {a: {engine: llama.cpp, weights: a}}
models:
  chat: {targets: a, policies: [fair, house]}
  batch: {targets: a, policies: house}
  free: a
policies:
  fair: {limits: [{per: [model, key], requests_per_minute: 600, tokens_per_minute: 200, concurrency: 64}]}
  house:
    limits: [{per: address, concurrency: 5, on_counters_outage: deny}]
    budgets: [{per: [model, tenant], amount_usd: 0.000000003, period: week, on_counters_outage: allow}]
"""


def test_a_model_has_the_limits_of_its_policies() -> None:
    models = config_of(read(POLICIES), 1, 0, workers=4).models
    house = Limit("house", ("address",), Measure.CONCURRENCY, 5, Outage.DENY)
    fair = [
        Limit("fair", ("key", "model"), measure, most, Outage.LOCAL_SHARE)
        for measure, most in ((Measure.REQUESTS, 600), (Measure.TOKENS, 200), (Measure.CONCURRENCY, 64))
    ]
    assert {name: model.limits for name, model in models.items()} == {
        "chat": (*fair, house),
        "batch": (house,),
        "free": (),
    }


def test_a_model_has_the_budgets_of_its_policies_which_are_for_all_models_that_have_them() -> None:
    models = config_of(read(POLICIES), 1, 0, workers=4).models
    (budget,) = models["chat"].budgets
    assert models["batch"].budgets == (budget,)
    assert models["free"].budgets == ()
    assert (budget.policy, budget.per, budget.period) == ("house", ("tenant", "model"), Period.WEEK)
    assert (budget.models, budget.most_nano, budget.on_outage) == (("batch", "chat"), 3, Outage.ALLOW)
    (other,) = (
        config_of(read(POLICIES.replace("  free: a", "  free: {targets: a, policies: house}")), 1, 0, 4)
        .models["chat"]
        .budgets
    )
    assert other.id != budget.id, "another set of models is another budget"


@pytest.mark.parametrize(
    ("policies", "kept"),
    [
        ([], None),
        (["none"], None),
        (["plain"], Cache(3600.0, 256 * 1024)),
        (["none", "brief"], Cache(90.0, 1024 * 1024)),
        (["brief", "plain", "small"], Cache(90.0, 2048)),
    ],
)
def test_a_model_keeps_what_all_its_policies_allow(policies: list[str], kept: Cache | None) -> None:
    text = "version: 1\ndeployments: {a: {engine: llama.cpp, weights: a}}\n"
    text += "policies: {none: {}, plain: {cache: {}}, brief: {cache: {ttl: 90s, max_entry: 1MiB}}, "
    text += (
        f"small: {{cache: {{max_entry: 2KiB}}}}}}\nmodels: {{m: {{targets: a, policies: {json.dumps(policies)}}}}}\n"
    )
    assert config_of(read(text), 1, 0, workers=1).models["m"].cache == kept


def test_gateways_know_where_answers_are_kept() -> None:
    plain = config_of(read("version: 1"), 1, 0, workers=1).gateway
    assert (plain.cache, plain.shared_cache) == (64 * 1024 * 1024, None)
    text = "version: 1\ngateway: {cache: 1MiB}\nstate: {cache: 'file:/run/redis'}\n"
    settings = config_of(read(text), 1, 0, workers=1).gateway
    assert (settings.cache, settings.shared_cache) == (1024 * 1024, SecretRef(file="/run/redis"))
    assert settings.counters is None


def test_a_shadow_has_its_share_as_a_fraction() -> None:
    text = "version: 1\ndeployments: {a: {model: x, base_url: 'http://a/v1'}, b: {model: x, base_url: 'http://b/v1'}}\n"
    stack = read(text + "models: {m: {targets: a, shadow: {deployment: b, share: 2.5%}}, n: a}\n")
    config = config_of(stack, 1, 0, workers=1)
    assert config.models["m"].shadow == Shadow("b", 0.025)
    assert config.models["n"].shadow is None
    assert not [warning for warning in stack.warnings if "no model uses" in warning.sentence]
    values = {each.path: each.value for each in stack.effective}
    assert values["models.m.shadow.share"] == "2.5%"
