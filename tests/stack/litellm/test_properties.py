"""Whatever the configuration says, the import ends in a valid stack that holds none of its secrets."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.stack.litellm import writer
from penstock.stack.litellm.clouds import CLOUDS
from penstock.stack.litellm.convert import _GENERAL_READ, _LITELLM_READ, _ROUTER_READ
from penstock.stack.litellm.deployments import _COSTS
from penstock.stack.litellm.document import NotImported
from penstock.stack.litellm.parameters import _PARAMETERS, _READ, MODES_NOT_SERVED
from penstock.stack.litellm.providers import NOT_CARRIED, PROVIDERS
from penstock.stack.litellm.settings import _GENERAL, _LITELLM, _ROUTER, _TOP, SECTIONS
from tests.stack.litellm.importing import imported, stack_of, told


def mostly(likely: st.SearchStrategy[Any], otherwise: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Draw from the first, one time in ten from the other."""
    return st.integers(0, 9).flatmap(lambda draw: otherwise if draw == 9 else likely)


SECRET = "planted-secret"
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
NAMES = st.sampled_from(
    ["a", "b", "c", "a$b", "gpt-4o", "org/m:1", "two words", "*", "openai/*", "", "os.environ/NAME", "é"]
)
NUMBERS = st.one_of(st.integers(-3, 10**9), st.floats(), st.sampled_from(["1e-6", "0.5", "1_000", "3e-20", "9" * 45]))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXT, NAMES)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | NAMES, inner, max_size=3), max_leaves=6
)
OF_CLOUDS = st.sampled_from(
    [
        "gemini-2.5-pro",
        "meta/llama-4-scout-maas",
        "openai/123",
        "claude-haiku-5-5",
        "openai.gpt-oss-20b-1:0",
        "converse/eu.openai.gpt-6-sol",
        "eu-west-1/qwen.qwen3-32b-v1:0",
        "amazon.nova-pro-v1:0",
        "endpoint-1",
    ]
)
UPSTREAMS = mostly(
    st.builds(
        "{}/{}".format, st.sampled_from(["openai", "anthropic", "hosted_vllm", "azure", *PROVIDERS]), NAMES | TEXT
    )
    | st.builds("{}/responses/{}".format, st.sampled_from(sorted(PROVIDERS)), NAMES)
    | st.builds("{}/{}".format, st.sampled_from(sorted(CLOUDS)), OF_CLOUDS | NAMES | TEXT),
    NAMES | TEXT | st.sampled_from([*NOT_CARRIED, "cohere/x"]),
)
ADDRESSES = st.sampled_from(
    [
        "http://h:1/v1",
        "https://r.openai.azure.com/",
        "https://r.openai.azure.com:99999",
        f"https://r.openai.azure.com/openai/deployments/a%0ab/chat/completions?key={SECRET}",
        "https://r.azure-api.net/openai/deployments/d$/extensions",
        "https://h/v1/chat/completions",
        f"https://me:{SECRET}@h/v1",
        f"https://h/v1?key={SECRET}",
        "os.environ/BASE",
        "unix:/x.sock",
        "http://[::1]:8000",
        "http://[",
        "h:1",
    ]
)
KEYS = st.sampled_from([f"sk-{SECRET}", "none", "os.environ/KEY", "os.environ/NO-KEY", f"os.environ/{SECRET}!"])

OF_GOOGLE = {"type": "service_account", "private_key": SECRET}
CLOUD_SETTINGS = {
    "vertex_project": st.sampled_from(["acme", "os.environ/PROJECT", 12, "no project", ""]),
    "vertex_location": st.sampled_from(["global", "os.environ/LOCATION", "a/b", ""]),
    "vertex_credentials": st.sampled_from(
        [OF_GOOGLE, json.dumps(OF_GOOGLE), json.dumps({"type": "authorized_user", "refresh_token": SECRET}), "k.json"]
    )
    | KEYS,
    "aws_region_name": st.sampled_from(["eu-west-1", "os.environ/AWS_REGION_NAME", "a b", ""]),
    "aws_access_key_id": KEYS,
    "aws_secret_access_key": KEYS,
    "aws_session_token": KEYS,
    "aws_role_name": st.just("arn:aws:iam::1:role/r"),
    "model_id": st.sampled_from(["component-1", "no component"]),
}


def mapping(
    always: dict[str, st.SearchStrategy[Any]], known: dict[str, st.SearchStrategy[Any]], others: set[str]
) -> st.SearchStrategy[Any]:
    """Return mappings of keys with likely values, and of some others with anything; now and then anything else."""
    likely = st.fixed_dictionaries(always, optional=known)
    strange = st.dictionaries(st.sampled_from(sorted(others)) | TEXT, ANYTHING, max_size=3)
    return mostly(st.builds(lambda first, second: {**second, **first}, likely, strange), ANYTHING)


PARAMS = mapping(
    {"model": UPSTREAMS, "api_base": mostly(st.none() | st.just("https://r.openai.azure.com/"), ADDRESSES)},
    {
        "api_key": KEYS,
        "tenant_id": st.sampled_from(["acme.example", "os.environ/TENANT", "no tenant", ""]),
        "client_id": st.sampled_from(["a$b", "os.environ/CLIENT", "a\nb"]),
        "client_secret": KEYS,
        "weight": NUMBERS,
        "rpm": NUMBERS,
        "order": NUMBERS,
        "timeout": NUMBERS,
        "stream_timeout": NUMBERS,
        "max_parallel_requests": NUMBERS,
        "litellm_credential_name": NAMES,
        **CLOUD_SETTINGS,
        "extra_headers": st.just({"authorization": SECRET}),
        **dict.fromkeys(_COSTS, NUMBERS),
    },
    set(_READ | _PARAMETERS.keys()) - {"tenant_id"},  # which is checked when the variable is known
)
INFO = mapping(
    {},
    {"id": NAMES, "mode": mostly(st.just("chat"), st.sampled_from([*sorted(MODES_NOT_SERVED), "responses"]))},
    {"team_id", "base_model"},
)
ENTRY = mapping({"model_name": NAMES, "litellm_params": PARAMS}, {"model_info": INFO}, {"rpm", "x"})
FALLBACKS = st.lists(st.dictionaries(NAMES, st.lists(NAMES | ANYTHING, max_size=3) | NAMES, max_size=2), max_size=3)
CREDENTIAL = st.fixed_dictionaries(
    {
        "credential_name": NAMES,
        "credential_values": mapping({"api_key": KEYS}, {"api_base": ADDRESSES, **CLOUD_SETTINGS}, {"x"}),
    }
)
CONFIG = mapping(
    {"model_list": mostly(st.lists(ENTRY, min_size=1, max_size=6), ANYTHING)},
    {
        "credential_list": st.lists(CREDENTIAL, max_size=2) | ANYTHING,
        "environment_variables": st.dictionaries(TEXT | st.just("NAME"), st.just(SECRET), max_size=3),
        "router_settings": mapping(
            {},
            {
                "fallbacks": FALLBACKS,
                "default_fallbacks": st.lists(NAMES, max_size=2),
                "model_group_alias": st.dictionaries(
                    NAMES, NAMES | st.fixed_dictionaries({"model": NAMES, "hidden": st.booleans()})
                ),
                "routing_strategy": st.sampled_from(
                    ["simple-shuffle", "least-busy", "usage-based-routing", "x", ["y"]]
                ),
                "redis_url": st.sampled_from(["os.environ/R", f"redis://:{SECRET}@h"]),
                "redis_password": st.just(SECRET),
                "timeout": NUMBERS,
            },
            set(_ROUTER_READ | _ROUTER.keys()),
        ),
        "litellm_settings": mapping({}, {"fallbacks": FALLBACKS}, set(_LITELLM_READ | _LITELLM.keys())),
        "general_settings": mapping(
            {},
            {
                "master_key": st.just(SECRET),
                "database_url": st.sampled_from(["os.environ/D", f"postgresql://:{SECRET}@h"]),
            },
            set(_GENERAL_READ | _GENERAL.keys()),
        ),
    },
    set(SECTIONS | _TOP.keys()),
)


@given(CONFIG)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_configuration_becomes_a_valid_stack_without_its_secrets(config: Any) -> None:
    try:
        found = imported(yaml.safe_dump(config, allow_unicode=True).encode())
    except NotImported as error:
        assert SECRET not in str(error)
        return
    stack = stack_of(found)
    names = {name for model in stack.models.values() for name in (*model.weighted, *model.fallback)}
    assert names == set(stack.deployments)
    printed = writer.text(found, "config.yaml") + str(writer.plain(found.stack)) + "".join(told(found))
    assert SECRET not in printed
