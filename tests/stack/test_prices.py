"""What deployments charge: the stack's word, on top of the price book's; and what happens where nobody knows."""

from __future__ import annotations

import pytest

from penstock.pricing.price import Price, Rates
from penstock.stack.compile import config_of
from tests.stack.reading import read, refused

BUDGET = "policies: {default: {budgets: [{per: key, amount_usd: 1, period: day}]}}\n"


def price_of(deployment: str) -> Price | None:
    stack = read(f"version: 1\ndeployments: {{d: {deployment}}}\nmodels: {{m: d}}\n")
    return config_of(stack, 1, 0, 1).deployments["d"].price


def rates(price: Price | None) -> tuple[int, int, int | None]:
    assert price is not None
    return price.input // 10**6, price.output // 10**6, price.cache_read and price.cache_read // 10**6


def test_the_book_knows_googles_models_without_their_publisher() -> None:
    where = "provider: vertex, project: p, location: europe-west4, service_account: 'file:k'"
    price = price_of(f"{{{where}, model: google/gemini-2.5-flash}}")
    assert price is not None
    assert price.output == 2_500_000_000


def test_a_listed_model_costs_what_the_book_says_and_names_its_edition() -> None:
    price = price_of("{provider: openai, model: gpt-4o-mini}")
    assert rates(price) == (150, 600, 75)
    assert price is not None
    assert price.version.startswith("genai-prices ")


def test_what_the_stack_names_counts_instead_of_the_book_and_the_rest_stays() -> None:
    price = price_of("{provider: openai, model: gpt-4o-mini, price: {output: 0.5}}")
    assert rates(price) == (150, 500, 75)
    assert price is not None
    assert price.version.startswith("stack on genai-prices ")


def test_a_named_rate_holds_for_prompts_of_every_size() -> None:
    price = price_of("{base_url: 'https://api.anthropic.com/v1', model: claude-sonnet-4-5, price: {input: 1}}")
    assert price is not None
    (tier,) = price.tiers
    assert (tier.rates.input, tier.rates.output) == (10**9, 22_500_000_000)


def test_every_kind_of_token_can_be_priced() -> None:
    price = price_of(
        "{provider: openai, model: of-our-own, price: {input: 1, output: 2, cache_read: 3, cache_write: 4, "
        "cache_write_1h: 5, reasoning: 6, audio: {input: 7, output: 8}, batch: {input: 0.5, audio: {output: 9}}}}"
    )
    usd = 10**9
    assert price is not None
    batch = Rates(usd // 2, 2 * usd, 3 * usd, 4 * usd, 5 * usd, 6 * usd, 7 * usd, 9 * usd)
    whole = Price(usd, 2 * usd, 3 * usd, 4 * usd, 5 * usd, 6 * usd, 7 * usd, 8 * usd, batch=batch)
    assert price == whole.versioned("stack")


def test_an_engine_is_free_unless_priced_and_known_to_be() -> None:
    price = price_of("{engine: llama.cpp, weights: x.gguf}")
    assert rates(price) == (0, 0, None)


def test_the_price_in_force_is_listed_with_its_origin() -> None:
    stack = read(
        "version: 1\ndeployments: {d: {model: gpt-4o-mini, provider: openai, price: {output: 0.5}}}\nmodels: {m: d}"
    )
    values = {value.path: (value.value, str(value.origin)) for value in stack.effective}
    assert values["deployments.d.price.output"] == ("0.5", "penstock.yaml:2")
    assert values["deployments.d.price.input"][0] == "0.15"
    assert values["deployments.d.price.input"][1].startswith("genai-prices ")
    assert values["deployments.d.price.reasoning"] == (None, "default")


@pytest.mark.parametrize(
    ("deployment", "why"),
    [
        ("{base_url: 'http://10.0.0.1/v1', model: gpt-4o-mini}", "the price book has no such model at this address"),
        (
            "{base_url: 'https://api.mistral.ai/v1', model: gpt-none}",
            "the price book has no such model at this address",
        ),
        (
            "{base_url: 'https://api.perplexity.ai', model: sonar, price: {}}",
            "its price in the book is not by tokens alone, perplexity/sonar",
        ),
    ],
)
def test_an_unknown_price_is_a_warning_that_says_how_to_set_it_and_an_error_under_a_budget(
    deployment: str, why: str
) -> None:
    text = f"version: 1\ndeployments:\n  d: {deployment}\n  e: {{engine: llama.cpp, weights: x.gguf}}\n"
    stack = read(text + "models: {m: {targets: e, fallback: d}}\n")
    remedy = "set price: {input: USD, output: USD} per million tokens, 0 for what is free"
    assert [problem.written("f") for problem in stack.warnings] == [
        f"f:3: deployments.d: what it costs is not known ({why}); {remedy}"
    ]
    assert config_of(stack, 1, 0, 1).deployments["d"].price is None
    with_budget = text + "models: {m: {targets: e, fallback: d, policies: default}}\n" + BUDGET
    has = "3: deployments.d: has no known price, so the budget of policy default, which model m has, cannot count it"
    assert refused(with_budget) == [f"{has} ({why}); {remedy}"]


def test_a_price_of_zero_is_known() -> None:
    text = "version: 1\ndeployments: {d: {base_url: 'http://h/v1', model: x, price: {input: 0, output: 0}}}\n"
    stack = read(text + "models: {m: {targets: d, policies: default}}\n" + BUDGET)
    assert stack.warnings == ()


def test_a_price_by_the_hour_is_a_warning() -> None:
    stack = read(
        "version: 1\ndeployments: {d: {base_url: 'https://api.deepseek.com', model: deepseek-chat}}\nmodels: {m: d}\n"
    )
    (warning,) = stack.warnings
    assert "time of day" in warning.sentence
    priced = "{base_url: 'https://api.deepseek.com', model: deepseek-chat, price: {input: 1, output: 2}}"
    assert read(f"version: 1\ndeployments: {{d: {priced}}}\nmodels: {{m: d}}\n").warnings == ()


@pytest.mark.parametrize(
    ("price", "warned"),
    [
        ("{output: 2}", "names no input, so prompts cost nothing; write input: 0 if that is meant"),
        ("{input: 2}", "names no output, so answers cost nothing; write output: 0 if that is meant"),
        ("{reasoning: 2}", "names no input and no output, so both cost nothing; write input: 0 if that is meant"),
    ],
)
def test_half_a_price_of_a_model_that_is_not_listed_is_a_warning(price: str, warned: str) -> None:
    text = f"version: 1\ndeployments:\n  d: {{base_url: 'http://h/v1', model: x, price: {price}}}\nmodels: {{m: d}}\n"
    assert [problem.written("f") for problem in read(text).warnings] == [f"f:3: deployments.d.price: {warned}"]
