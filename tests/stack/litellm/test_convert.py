"""LiteLLM configurations become stacks that the product accepts, with a note for everything that is not in them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from penstock.stack.deployments import Provider
from penstock.stack.litellm import writer
from penstock.stack.litellm.document import NotImported
from tests.stack.litellm.importing import imported, left_out, stack_of, told

AZURE = "model: azure/d, api_base: 'https://r.openai.azure.com/', "
CONFIGS = sorted((Path(__file__).parent / "configs").glob("*.yaml"))


def one(params: str, *, name: str = "m", more: str = "") -> str:
    """Return a configuration of one entry, with its parameters in flow style."""
    return f"model_list: [{{model_name: {name}, litellm_params: {{{params}}}{more}}}]\n"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_configuration_becomes_a_valid_stack(path: Path) -> None:
    found = imported(path.read_bytes())
    stack = stack_of(found)
    assert stack.models
    assert not [warning for warning in stack.warnings if "no model uses" in warning.sentence]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_no_secret_of_the_source_is_written_anywhere(path: Path) -> None:
    found = imported(path.read_bytes())
    assert "planted-secret" not in writer.text(found, path.name) + str(told(found)) + str(writer.plain(found.stack))


def test_there_are_configurations() -> None:
    assert len(CONFIGS) >= 3


def test_entries_of_one_name_are_one_model_with_weights() -> None:
    found = imported((CONFIGS[0].parent / "balanced.yaml").read_bytes())
    model = stack_of(found).models["gpt-4o"]
    assert model.weighted == {"azure-gpt4o-sweden": Decimal(3), "azure-gpt4o-france": Decimal(1)}
    assert model.fallback == ("mistral-mistral-large-latest",)
    assert (str(model.timeout.first_token), str(model.timeout.total)) == ("12500ms", "90s")


def test_an_alias_is_a_model_of_its_own() -> None:
    stack = stack_of(imported((CONFIGS[0].parent / "balanced.yaml").read_bytes()))
    assert stack.models["gpt-4"] == stack.models["GPT-4o"] == stack.models["gpt-4o"]


def test_order_says_who_is_tried_next() -> None:
    model = stack_of(imported((CONFIGS[0].parent / "self_hosted.yaml").read_bytes())).models["llama"]
    first = "hosted_vllm-meta-llama-llama-3.3-70b-instruct"
    assert model.weighted == {first: Decimal(3), f"{first}-2": Decimal(1)}
    assert model.fallback == ("ollama_chat-llama3.3", "openai-llama-spare")


def test_prices_are_per_million_tokens_and_exact() -> None:
    found = imported((CONFIGS[0].parent / "hosted.yaml").read_bytes())
    deployment = stack_of(found).deployments["sonnet-eu"]
    assert isinstance(deployment, Provider)
    price = deployment.price
    assert [price.input, price.output] == [Decimal(3), Decimal(15)]
    assert [price.cache_read, price.cache_write] == [Decimal("0.3"), Decimal("3.75")]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ("model: gpt-4o", {"provider": "openai", "model": "gpt-4o", "api_key": "${OPENAI_API_KEY}"}),
        (
            "model: openai/gpt-4o, api_key: os.environ/TEAM_KEY",
            {"provider": "openai", "model": "gpt-4o", "api_key": "${TEAM_KEY}"},
        ),
        (
            "model: claude-haiku-4-5",
            {
                "provider": "anthropic",
                "base_url": "https://api.anthropic.com/v1",
                "model": "claude-haiku-4-5",
                "api_key": "${ANTHROPIC_API_KEY}",
            },
        ),
        (
            "model: anthropic/claude-x, api_base: 'https://proxy.example/', api_key: os.environ/K",
            {
                "provider": "anthropic",
                "base_url": "https://proxy.example/v1",
                "model": "claude-x",
                "api_key": "${K}",
            },
        ),
        (
            "model: deepseek/deepseek-chat",
            {
                "provider": "openai",
                "base_url": "https://api.deepseek.com/v1",
                "model": "deepseek-chat",
                "api_key": "${DEEPSEEK_API_KEY}",
            },
        ),
        (
            "model: ollama/llama3, api_base: 'http://gpu:11434'",
            {"provider": "openai", "base_url": "http://gpu:11434/v1", "model": "llama3"},
        ),
        (
            "model: azure/d, api_base: 'https://r.openai.azure.com/openai/deployments/d?api-version=1'",
            {
                "provider": "azure",
                "base_url": "https://r.openai.azure.com/openai/v1",
                "model": "d",
                "api_key": "${AZURE_API_KEY}",
            },
        ),
        (
            "model: azure/d, api_base: os.environ/BASE, api_key: os.environ/K",
            {"provider": "azure", "base_url": "${BASE}/openai/v1", "model": "d", "api_key": "${K}"},
        ),
        (
            AZURE + "tenant_id: acme.example, client_id: a, client_secret: os.environ/S",
            {
                "provider": "azure",
                "base_url": "https://r.openai.azure.com/openai/v1",
                "model": "d",
                "entra": {"tenant": "acme.example", "client_id": "a", "client_secret": "${S}"},
            },
        ),
        (
            AZURE + "tenant_id: os.environ/TENANT, client_id: os.environ/C, client_secret: planted-secret",
            {
                "provider": "azure",
                "base_url": "https://r.openai.azure.com/openai/v1",
                "model": "d",
                "entra": {"tenant": "${TENANT}", "client_id": "${C}", "client_secret": "${M_API_KEY}"},
            },
        ),
        (
            "model: org/m, custom_llm_provider: openai, api_base: 'http://h:1/v1', api_key: none",
            {"provider": "openai", "base_url": "http://h:1/v1", "model": "org/m"},
        ),
        (
            "model: hosted_vllm/m, api_base: 'http://h:1/v1', max_parallel_requests: 8",
            {"provider": "openai", "base_url": "http://h:1/v1", "model": "m", "max_in_flight": 8},
        ),
        ("model: 'openai/a$b'", {"provider": "openai", "model": "a$$b", "api_key": "${OPENAI_API_KEY}"}),
    ],
)
def test_where_a_model_is(params: str, expected: dict[str, object]) -> None:
    found = imported(one(params))
    assert list(found.stack["deployments"].values()) == [expected]
    stack_of(found)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (one("model: azure_ai/x"), "litellm_params.model: azure_ai has a protocol"),
        (one(AZURE + "azure_ad_token: t"), "it has neither an api_key nor all of tenant_id"),
        (one(AZURE + "api_key: none"), "it has neither an api_key"),
        (one("model: cohere/x"), "Penstock has no provider 'cohere'"),
        (one("model: mystery"), "nothing says its provider"),
        (one("model: hosted_vllm/x"), "it has no api_base"),
        (one("model: 'openai/*'", name="'*'"), "a stack has no wildcards"),
        (one("model: azure/x, api_base: 'https://elsewhere.example'"), "such as os.environ/AZURE_API_KEY"),
        (one("model: azure/x, api_base: 'elsewhere.example'"), "an address of Azure is written https://HOST"),
        (one("model: azure/x, api_base: 'unix:/x.sock'"), "an address of Azure is written https://HOST"),
        (one(AZURE.replace(".com/", ".com/?key=planted-secret") + "api_key: k"), "api_base: a base_url has no query"),
        (one("model: openai/responses/gpt-5-pro"), "model: LiteLLM translates chats to the Responses API"),
        (one("model: openai/responses/"), "the model's name has to be written out"),
        (one("model: openai/x, api_base: 'localhost:8000'"), "api_base: a base_url is written https://host/v1"),
        (one("model: openai/x, api_base: 'https://me:pw@h/v1'"), "api_base: a base_url holds no user name"),
        (one("model: openai/x", name="'two words'"), "'two words' cannot be a model's name"),
        (one("model: openai/x", more=", model_info: {mode: rerank}"), "Penstock has no route for rerank"),
        (one('model: "openai/a\\tb"'), "the model's name has to be written out, in one line"),
        (one("api_key: x"), "litellm_params needs a model"),
        ("model_list: [{model_name: m}]", "it needs a model_name and litellm_params"),
        (one("model: openai/x, temperature: 1"), "temperature: Penstock sends a client's parameters as they are"),
        (one("model: openai/x, tags: [free]"), "tags: no route of a stack goes by tags"),
        (one("model: openai/x, num_retries: 3"), "num_retries: a stack does not say how often"),
        (one("model: openai/x, input_cost_per_second: 1"), "input_cost_per_second: a stack has prices per token"),
        (one("model: openai/x, input_cost_per_token: 1e-20"), "input_cost_per_token: a price is from 0"),
        (one("model: openai/x, max_parallel_requests: 0.5"), "max_parallel_requests: max_in_flight is a whole"),
        (one("model: openai/x, timeout: soon"), "timeout: a time limit is a number of seconds"),
        (one("model: openai/x", more=", model_info: {team_id: t}"), "team_id: who may use a model"),
        (one("model: openai/x") + "router_settings: {routing_strategy: cost-based-routing}", "routes go by weights"),
        (one("model: openai/x") + "router_settings: {routing_strategy: [least-busy]}", "routes go by weights"),
        (one("model: openai/x") + "router_settings: {fallbacks: [{m: [other]}]}", "there is no model 'other'"),
        (one("model: openai/x") + "router_settings: {fallbacks: [{other: [m]}]}", "there is no model 'other'"),
        (
            one("model: openai/x") + "router_settings: {fallbacks: [oops]}",
            "fallbacks[0]: fallbacks are written as a list",
        ),
        (one("model: openai/x") + "router_settings: {fallbacks: oops}", "fallbacks: fallbacks are written as a list"),
        (one("model: openai/x") + "litellm_settings: {fallbacks: {m: [m]}}", "fallbacks: fallbacks are written as a"),
        (one("model: openai/x") + "router_settings: {model_group_alias: [a]}", "aliases are written {ALIAS: MODEL}"),
        (one("model: openai/x") + "router_settings: {model_group_alias: {a: other}}", "is no model of the stack"),
        (one("model: openai/x") + "router_settings: {model_group_alias: {m: m}}", "there is a model of that name"),
        (one("model: openai/x") + "router_settings: {redis_host: cache}", "put the server's address into REDIS_URL"),
        (one("model: openai/x") + "router_settings: {some_new_setting: 1}", "Penstock has no such setting"),
        (one("model: openai/x") + "litellm_settings: {success_callback: [x]}", "Penstock calls nobody"),
        (one("model: openai/x") + "general_settings: {master_key: sk-1}", "PENSTOCK_ADMIN_KEY sets an admin key"),
        (one("model: openai/x") + "general_settings: {database_url: 'postgresql://u:p@h/d'}", "may hold a password"),
        (one("model: openai/x") + "include: [other.yaml]", "import each of these files by itself"),
        (one("model: openai/x") + "guardrails: [{guardrail_name: g}]", "has no guards"),
        (one("model: openai/x") + "prompts: [{prompt_id: p}]", "Penstock knows no such section"),
        ("general_settings: {store_model_in_db: true}", "are in its database"),
    ],
)
def test_what_has_no_counterpart_is_told(config: str, sentence: str) -> None:
    found = imported(config)
    assert any(sentence in line for line in left_out(found)), told(found)
    stack_of(found)


@pytest.mark.parametrize(
    ("model", "mode", "expected", "speaks"),
    [
        ("openai/responses/gpt-5-pro", "chat", "gpt-5-pro", ["responses"]),
        ("openai/gpt-5-pro", "responses", "gpt-5-pro", ["responses"]),
        ("openai/gpt-5-pro", "chat", "gpt-5-pro", None),
        ("azure/responses/dep", "chat", "dep", ["responses"]),
        ("azure/gpt5_series/dep", "chat", "dep", None),
        ("azure/o_series/dep", "chat", "dep", None),
        ("azure/responses/o_series/dep", "chat", "dep", ["responses"]),
        ("anthropic/responses/x", "responses", "responses/x", None),
        ("openai/o_series/x", "chat", "o_series/x", None),  # a route of azure's only
    ],
)
def test_what_litellm_puts_before_a_model_is_no_part_of_its_name(
    model: str, mode: str, expected: str, speaks: list[str] | None
) -> None:
    params = f"model: {model}, api_key: os.environ/K, api_base: 'https://r.openai.azure.com'"
    found = imported(one(params, more=f", model_info: {{mode: {mode}}}"))
    ((name, deployment),) = found.stack["deployments"].items()
    assert (deployment["model"], deployment.get("speaks")) == (expected, speaks)
    assert name == f"{model.partition('/')[0]}-{expected.replace('/', '-')}"
    stack_of(found)


@pytest.mark.parametrize(
    ("provider", "api_base", "expected"),
    [
        ("openai", "https://h/v1/chat/completions", "https://h/v1"),
        ("openai", "https://h/v1/chat/completions/", "https://h/v1"),
        ("openai", "https://h/v1/completions", "https://h/v1"),
        ("openai", "https://h/v1/embeddings", "https://h/v1"),
        ("openai", "https://h/v1/responses", "https://h/v1"),
        ("anthropic", "https://h/v1/messages", "https://h/v1"),
        ("ollama", "http://h:11434/v1/chat/completions", "http://h:11434/v1"),
        ("azure", "https://h.azure-api.net/openai/v1/chat/completions", "https://h.azure-api.net/openai/v1"),
    ],
)
def test_the_path_of_a_call_is_cut_off_an_address(provider: str, api_base: str, expected: str) -> None:
    found = imported(one(f"model: {provider}/m, api_base: '{api_base}', api_key: os.environ/K"))
    (deployment,) = found.stack["deployments"].values()
    assert deployment["base_url"] == expected
    assert any("at the end of the address is cut off" in line for line in told(found))
    stack_of(found)


@pytest.mark.parametrize("api_base", ["https://h/v1", "https://h/messages/v1", "https://h/v1/rechat"])
def test_other_paths_stay_as_they_are(api_base: str) -> None:
    found = imported(one(f"model: openai/m, api_base: '{api_base}'"))
    (deployment,) = found.stack["deployments"].values()
    assert deployment["base_url"] == api_base
    assert not any("cut off" in line for line in told(found))


DEPLOYMENT = "openai/deployments/real-dep"


@pytest.mark.parametrize(
    ("api_base", "base_url", "model"),
    [
        ("https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai/v1", "dep"),
        (f"https://r.openai.azure.com/{DEPLOYMENT}", "https://r.openai.azure.com/openai/v1", "real-dep"),
        (
            f"https://r.openai.azure.com/{DEPLOYMENT}/chat/completions?api-version=2024-10-21",
            "https://r.openai.azure.com/openai/v1",
            "real-dep",
        ),
        ("https://r.openai.azure.us", "https://r.openai.azure.us/openai/v1", "dep"),
        ("https://r.openai.azure.cn", "https://r.openai.azure.cn/openai/v1", "dep"),
        ("https://acme.azure-api.net/llm/", "https://acme.azure-api.net/llm/openai/v1", "dep"),
        ("https://acme.azure-api.net/llm/openai", "https://acme.azure-api.net/llm/openai/v1", "dep"),
        (f"https://acme.azure-api.net/llm/{DEPLOYMENT}/x", "https://acme.azure-api.net/llm/openai/v1", "real-dep"),
    ],
)
def test_where_azure_is(api_base: str, base_url: str, model: str) -> None:
    found = imported(one(f"model: azure/dep, api_base: '{api_base}', api_key: os.environ/K"))
    (deployment,) = found.stack["deployments"].values()
    assert (deployment["base_url"], deployment["model"]) == (base_url, model)
    assert left_out(found) == []
    notes = told(found)
    assert any("deployment that the address names is asked" in line for line in notes) == (model != "dep")
    known = "azure.com" in api_base or "azure.us" in api_base
    assert any("passes on Azure's v1 API" in line for line in notes) != known
    stack_of(found)


def test_an_application_of_another_cloud_of_azure_needs_its_authority() -> None:
    entra = "tenant_id: acme.example, client_id: a, client_secret: os.environ/S"
    assert not any("entra.authority" in line for line in told(imported(one(AZURE + entra))))
    notes = told(imported(one((AZURE + entra).replace("azure.com", "azure.us"))))
    assert any("entra.authority" in line for line in notes)


def test_a_note_names_the_line() -> None:
    found = imported("model_list:\n- model_name: m\n  litellm_params:\n    model: azure_ai/m\n")
    assert any(line.startswith("4: model_list[0].litellm_params.model: azure_ai has") for line in left_out(found))


def test_what_occurs_often_is_told_once() -> None:
    entries = ["{model_name: m, litellm_params: {model: openai/x, seed: 1}}"] * 3
    lines = left_out(imported("model_list:\n" + "".join(f"- {entry}\n" for entry in entries)))
    assert len(lines) == 1
    assert lines[0].endswith("(and lines 3, 4)")


def test_what_is_switched_off_is_not_told() -> None:
    settings = "litellm_settings: {cache: false, callbacks: [], drop_params: 'no'}\nguardrails: []\n"
    assert left_out(imported(one("model: openai/x") + settings)) == []


def test_equal_entries_are_one_deployment_whose_weights_add_up() -> None:
    found = imported("""
        model_list:
        - {model_name: m, litellm_params: {model: openai/x, weight: 1}}
        - {model_name: m, litellm_params: {model: openai/x, weight: 2}}
        - {model_name: m, litellm_params: {model: openai/y, weight: 1}}
        - {model_name: n, litellm_params: {model: openai/x}}
        """)
    stack = stack_of(found)
    assert list(stack.deployments) == ["openai-x", "openai-y"]
    assert stack.models["m"].weighted == {"openai-x": 3, "openai-y": 1}
    assert stack.models["n"].weighted == {"openai-x": 1}


def test_fallbacks_go_by_model_by_id_and_by_default() -> None:
    found = imported("""
        model_list:
        - {model_name: a, litellm_params: {model: openai/a}}
        - {model_name: b, litellm_params: {model: openai/b}}
        - {model_name: c, litellm_params: {model: openai/c}, model_info: {id: Spare 1}}
        router_settings:
          model_group_alias: {other: a}
          fallbacks: [{a: [b, Spare 1]}]
        litellm_settings:
          fallbacks: [{a: [a]}]
          default_fallbacks: [c]
        """)
    models = stack_of(found).models
    assert models["a"].fallback == models["other"].fallback == ("openai-b", "spare-1")
    assert models["b"].fallback == ("spare-1",)
    assert models["c"].fallback == ()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("litellm_settings: {request_timeout: 45}", ("30s", "45s")),
        ("router_settings: {timeout: 20}\nlitellm_settings: {request_timeout: 45}", ("30s", "20s")),
        ("router_settings: {timeout: 20, stream_timeout: 60}", ("20s", "20s")),
        ("router_settings: {stream_timeout: 900}", ("15m", "15m")),
        ("router_settings: {stream_timeout: 0.25}", ("250ms", "10m")),
    ],
)
def test_time_limits(settings: str, expected: tuple[str, str]) -> None:
    timeout = stack_of(imported(one("model: openai/x") + settings)).models["m"].timeout
    assert (str(timeout.first_token), str(timeout.total)) == expected


def test_a_key_in_the_file_becomes_a_variable_that_nothing_else_has() -> None:
    found = imported("""
        model_list:
        - {model_name: gpt-4o, litellm_params: {model: openai/a, api_key: sk-planted-1}}
        - {model_name: b, litellm_params: {model: openai/b, api_key: sk-planted-1}}
        - {model_name: "gpt.4o", litellm_params: {model: openai/c, api_key: sk-planted-2}}
        - {model_name: d, litellm_params: {model: openai/d, api_key: os.environ/GPT_4O_API_KEY_2}}
        """)
    keys = [item["api_key"] for item in found.stack["deployments"].values()]
    assert keys == ["${GPT_4O_API_KEY}", "${GPT_4O_API_KEY}", "${GPT_4O_API_KEY_3}", "${GPT_4O_API_KEY_2}"]
    assert "planted" not in writer.text(found, "config.yaml") + str(told(found))


def test_the_state_is_where_the_environment_says() -> None:
    found = imported("""
        router_settings: {redis_url: os.environ/SHARED}
        general_settings: {database_url: os.environ/DATABASE_URL, max_request_size_mb: 8}
        """)
    assert found.stack["state"] == {"database": "${DATABASE_URL}", "counters": "${SHARED}"}
    assert found.stack["gateway"] == {"max_body": "8MiB"}


def test_a_stack_has_at_most_a_thousand_deployments() -> None:
    entries = "".join(f"- {{model_name: m{n}, litellm_params: {{model: openai/x{n}}}}}\n" for n in range(1001))
    found = imported("model_list:\n" + entries)
    assert len(stack_of(found).deployments) == 1000
    assert "1002: model_list[1000]: a stack has at most 1000 deployments" in left_out(found)


def test_a_model_names_at_most_64_targets_and_as_many_fallbacks() -> None:
    entries = "".join(f"- {{model_name: m, litellm_params: {{model: openai/x{n}}}}}\n" for n in range(130))
    found = imported("model_list:\n" + entries)
    model = stack_of(found).models["m"]
    assert [len(model.weighted), len(model.fallback)] == [64, 64]
    assert any("at most 64 targets and as many fallbacks" in line for line in left_out(found))


@pytest.mark.parametrize("text", ["{}", "version: 1\nmodels: {}\n", "services: {web: {image: x}}\n"])
def test_another_file_is_refused(text: str) -> None:
    with pytest.raises(NotImported, match=r"config\.yaml: not a LiteLLM configuration"):
        imported(text)
