"""What entries weigh beside each other, by the router's strategy, and what the notes say about it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from penstock.stack.litellm.convert import Imported
from tests.stack.litellm.importing import imported, left_out, stack_of, told

ADAPTING = ["latency-based-routing", "least-busy", "usage-based-routing", "usage-based-routing-v2"]


def balanced(*entries: str, strategy: str = "") -> Imported:
    """Import a model `m` whose entries `a`, `b` and so on have these settings, in flow style."""
    lines = [
        f"- {{model_name: m, litellm_params: {{model: openai/{name}, {settings}}}}}"
        for name, settings in zip("abcd", entries, strict=False)
    ]
    router = f"\nrouter_settings: {{routing_strategy: {strategy}}}" if strategy else ""
    return imported("model_list:\n" + "\n".join(lines) + router)


@pytest.mark.parametrize("strategy", ["", "simple-shuffle"])
@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["weight: 0.7", "weight: 0.3"], {"a": "0.7", "b": "0.3"}),
        (["tpm: 30000000", "tpm: 10000000"], {"a": "3", "b": "1"}),
        (["tpm: 30000001", "tpm: 10000000"], {"a": "1000000", "b": "333333.322222"}),
        (["rpm: 1_000", "rpm: 500"], {"a": "2", "b": "1"}),
        (["weight: 5", "rpm: 1"], {"a": "1"}),  # the second has no weight beside the first
        (["rpm: 1", "weight: 5"], {"a": "1"}),
        (["weight: 0", "weight: 0"], {"a": "1", "b": "1"}),
        (["weight: 1e-9", "weight: 2"], {"a": "0.000001", "b": "2"}),
    ],
)
def test_simple_shuffle_weighs(entries: list[str], expected: dict[str, str], strategy: str) -> None:
    model = stack_of(balanced(*entries, strategy=strategy)).models["m"]
    assert model.weighted == {f"openai-{name}": Decimal(weight) for name, weight in expected.items()}
    assert model.weights == "fixed"
    assert model.fallback == tuple(f"openai-{name}" for name in "ab" if name not in expected)


@pytest.mark.parametrize("strategy", ADAPTING)
def test_strategies_that_look_at_the_deployments_have_adaptive_weights(strategy: str) -> None:
    found = balanced("rpm: 10000, weight: 3", "rpm: 10", strategy=strategy)
    model = stack_of(found).models["m"]
    assert model.weights == "adaptive"
    assert model.weighted == {"openai-a": Decimal(1), "openai-b": Decimal(1)}
    assert model.fallback == ()
    (how,) = [line for line in told(found) if "routing_strategy" in line]
    assert how.startswith("Note: ")
    assert "weights: adaptive" in how
    assert not any("counts as a weight" in line for line in told(found))
    assert any("weight: LiteLLM weighs by it with simple-shuffle only" in line for line in left_out(found))


@pytest.mark.parametrize(
    "strategy", ["latency-based-routing", "usage-based-routing", "cost-based-routing", "unheard-of"]
)
def test_a_limit_that_is_kept_to_is_left_out(strategy: str) -> None:
    lines = left_out(balanced("rpm: 6", "tpm: 600", strategy=strategy))
    assert any("rpm: a stack has no limits of deployments" in line and "requests_per_minute" in line for line in lines)
    assert any("tpm: a stack has no limits of deployments" in line and "tokens_per_minute" in line for line in lines)


def test_other_strategies_leave_equal_weights() -> None:
    model = stack_of(balanced("weight: 3", "weight: 1", strategy="cost-based-routing")).models["m"]
    assert (model.weights, set(model.weighted.values())) == ("fixed", {Decimal(1)})


@pytest.mark.parametrize("strategy", ADAPTING)
def test_a_model_of_one_deployment_has_nothing_to_adapt(strategy: str) -> None:
    assert stack_of(balanced("rpm: 1", strategy=strategy)).models["m"].weights == "fixed"


def test_only_what_is_weighed_by_is_called_a_weight() -> None:
    notes = told(balanced("rpm: 2, tpm: 5", "rpm: 1"))
    assert [line for line in notes if "rpm: counts as a weight" in line]
    assert [line for line in notes if "tpm: neither weighs nor limits anything here" in line]
    assert len(notes) == 3  # and the one about streams


@pytest.mark.parametrize("settings", ["rpm: 6", "rpm: 0", "weight: 0", "weight: 3"])
def test_a_lone_entry_is_weighed_against_nothing(settings: str) -> None:
    notes = told(balanced(settings))
    assert not any("weighs nothing beside" in line or "counts as a weight" in line for line in notes)


def test_an_entry_without_weight_stands_in_for_the_others() -> None:
    found = balanced("rpm: 4", "weight: 5", "rpm: 4")
    assert stack_of(found).models["m"].fallback == ("openai-b",)
    (line,) = [line for line in told(found) if "weighs nothing beside the others" in line]
    assert line.startswith("Note: 3: model_list[1]:")
    assert "LiteLLM goes by rpm" in line


def test_nobody_is_said_to_weigh_nothing_when_all_do() -> None:
    assert not any("weighs nothing" in line for line in told(balanced("weight: 0", "weight: 0")))


def test_what_is_tried_next_has_no_weights() -> None:
    found = balanced("order: 1", "order: 2, weight: 2", "order: 2, weight: 1")
    assert stack_of(found).models["m"].fallback == ("openai-b", "openai-c")
    assert any(
        "weight: what is tried after a model's targets is tried in its order" in line for line in left_out(found)
    )
