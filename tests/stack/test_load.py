from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from penstock import bundled
from penstock.auth.secrets import SecretRef
from penstock.stack.deployments import Engine, Provider
from penstock.stack.listen import Listen
from penstock.stack.load import load, parse
from penstock.stack.problem import InvalidStack
from penstock.types.errors import StackError
from tests.stack.reading import read

WHOLE = """\
version: 1
gateway:
  listen: ${LISTEN}
  workers: ${WORKERS:-3}
  ops: "[::1]:0"
  max_body: 10MB
  tls: {certificate: tls/chain.pem, key: /etc/key.pem}
deployments:
  mini:
    engine: llama.cpp
    weights: models/mini.gguf
    replicas: "${REPLICAS}"
  large:
    base_url: http://${HOST:-10.0.0.7}:8000/v1
    model: "${MODEL}"
    api_key: ${OPENAI_API_KEY}
    price: {input: 0.15, cache_read: "0.075", output: "${PRICE}"}
models:
  chat: [mini, large]
  gpt-4.1: {targets: {large: 3, mini: 0.5}, fallback: mini, timeout: {total: 2m}}
"""
ENVIRON = {
    "LISTEN": "0.0.0.0:0",
    "REPLICAS": "2",
    "MODEL": "qwen",
    "PRICE": "0.60",
    "OPENAI_API_KEY": "sk-hunter2",
    "HOME": "/home/me",
}


def test_a_file_becomes_typed_values() -> None:
    stack = read(WHOLE, ENVIRON)
    assert stack.path == Path("/srv/stack/penstock.yaml")
    assert stack.gateway.listen == Listen("0.0.0.0", 0)
    assert stack.gateway.workers == 3
    assert stack.gateway.ops == Listen("::1", 0)
    assert stack.gateway.max_body == 10_000_000
    assert stack.gateway.drain.seconds == 30.0
    assert stack.gateway.tls is not None
    assert (stack.gateway.tls.certificate, stack.gateway.tls.key) == ("/srv/stack/tls/chain.pem", "/etc/key.pem")
    mini, large = stack.deployments["mini"], stack.deployments["large"]
    assert isinstance(mini, Engine)
    assert isinstance(large, Provider)
    assert (mini.weights.path, mini.replicas, mini.context) == ("/srv/stack/models/mini.gguf", 2, 2048)
    assert (large.provider, large.model, large.base_url.host) == ("openai", "qwen", "10.0.0.7")
    assert large.api_key == SecretRef(env="OPENAI_API_KEY")
    assert large.price.cache_read == Decimal("0.075")
    assert large.price.output == Decimal("0.60")
    assert stack.models["chat"].weighted == {"mini": 1, "large": 1}
    assert stack.models["gpt-4.1"].weighted == {"large": 3, "mini": Decimal("0.5")}
    assert stack.models["gpt-4.1"].fallback == ("mini",)


def test_each_value_knows_where_it_comes_from() -> None:
    origin = {path: str(value) for path, value in read(WHOLE, ENVIRON).origin.items()}
    assert origin["gateway.listen"] == "environment LISTEN (penstock.yaml:3)"
    assert origin["gateway.workers"] == "penstock.yaml:4"  # the default of the reference was used
    assert origin["gateway.drain"] == "default"
    assert origin["admin.listen"] == "default"
    assert origin["deployments.mini.replicas"] == "environment REPLICAS (penstock.yaml:12)"
    assert origin["deployments.mini.context"] == "default"
    assert origin["deployments.mini.price.input"] == "default"
    assert origin["deployments.large.api_key"] == "penstock.yaml:16"
    assert origin["deployments.large.price.cache_read"] == "penstock.yaml:17"
    assert origin["models.chat.targets[1]"] == "penstock.yaml:19"
    assert origin["models.chat.route"] == "default"
    assert origin['models["gpt-4.1"].targets.mini'] == "penstock.yaml:20"
    assert origin['models["gpt-4.1"].fallback[0]'] == "penstock.yaml:20"
    assert origin['models["gpt-4.1"].timeout.first_token'] == "default"


def test_a_stack_cannot_be_changed() -> None:
    stack = read(WHOLE, ENVIRON)
    with pytest.raises(ValueError, match="frozen"):
        stack.gateway.workers = 2
    with pytest.raises(AttributeError):
        stack.gateway = stack.gateway  # type: ignore[misc]  # this is what must fail
    with pytest.raises(TypeError):
        stack.models["x"] = stack.models["chat"]  # type: ignore[index]  # this is what must fail


def test_a_key_without_a_value_counts_as_not_written() -> None:
    stack = read("version: 1\ngateway:\nmodels:\nadmin: {listen: }\nstate: ~\n")
    assert stack.gateway.workers == 1
    assert str(stack.admin.listen) == "127.0.0.1:8081"
    assert str(stack.origin["admin.listen"]) == "default"


def test_without_a_file_the_bundled_models_are_served(tmp_path: Path) -> None:
    stack = load(None, {}, tmp_path)
    assert stack.path is None
    assert set(stack.deployments) == set(bundled.MODELS)
    for name, deployment in stack.deployments.items():
        assert isinstance(deployment, Engine)
        assert str(deployment.weights) == f"bundled:{name}"
        assert Path(deployment.weights.path).read_bytes()[:4] == b"GGUF"
    served = {name: model.weighted for name, model in stack.models.items()}
    assert served == {"chat": {"mini": 1}, **{name: {name: 1} for name in bundled.MODELS}}
    assert {str(origin) for origin in stack.origin.values()} == {"default"}
    assert stack.warnings == ()


def test_bundled_weights_have_the_price_of_what_they_cost_unless_another_is_written() -> None:
    stack = read(
        """
        version: 1
        deployments:
          ours: {engine: llama.cpp, weights: bundled:mini}
          dear: {engine: llama.cpp, weights: bundled:mini, price: {input: 1}}
          free: {engine: llama.cpp, weights: bundled:mini, price: {}}
          other: {engine: llama.cpp, weights: other.gguf}
        models: {chat: ours}
        """
    )
    known = bundled.model("mini")
    values = {value.path: value.value for value in stack.effective}
    prices = {
        name: [Decimal(str(values[f"deployments.{name}.price.{kind}"])) for kind in ("input", "output")]
        for name in stack.prices
    }
    assert prices == {"ours": [known.input_usd, known.output_usd], "dear": [1, 0], "free": [0, 0], "other": [0, 0]}
    versions = {name: priced.price.version.split()[0] for name, priced in stack.prices.items() if priced.price}
    assert versions == {"ours": "bundled", "dear": "stack", "free": "stack", "other": "free"}
    assert known.output_usd > known.input_usd > 0
    assert str(stack.origin["deployments.ours.price.output"]) == "default"


def test_a_file_is_found_from_the_directory_given_and_named_as_given(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "p.yaml").write_text(
        "version: 1\ndeployments: {a: {engine: llama.cpp, weights: a.gguf}}\nmodels: {a: a}\n"
    )
    stack = load(Path("conf/p.yaml"), {}, tmp_path)
    deployment = stack.deployments["a"]
    assert isinstance(deployment, Engine)
    assert deployment.weights.path == str(tmp_path / "conf" / "a.gguf")
    assert str(stack.origin["models.a.targets[0]"]) == "conf/p.yaml:3"


def test_the_home_directory_is_known_by_its_tilde() -> None:
    stack = read(
        "version: 1\ndeployments: {a: {engine: llama.cpp, weights: ~/a.gguf}}\nmodels: {a: a}\n", {"HOME": "/h"}
    )
    deployment = stack.deployments["a"]
    assert isinstance(deployment, Engine)
    assert deployment.weights.path == "/h/a.gguf"


def test_a_file_that_cannot_be_read_gets_one_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, sentence in [
        ("none.yaml", "none.yaml: there is no such file"),
        (".", ".: is a directory; name the file in it"),
        ("pipe", "pipe: not a regular file"),
        ("x" * 300, f"{'x' * 300}: cannot be read: File name too long"),
    ]:
        with pytest.raises(StackError) as caught:
            load(Path(name), {}, tmp_path)
        assert str(caught.value) == sentence


def test_what_is_doubtful_is_a_warning() -> None:
    stack = read(
        """\
        version: 1
        deployments:
          idle: {engine: llama.cpp, weights: bundled:mini}
          far:
            base_url: http://10.0.0.1/v1
            model: m
            api_key: ${NOT_SET}
            price: {input: 1, output: 2}
        models:
          chat: far
        """
    )
    assert [problem.written("penstock.yaml") for problem in stack.warnings] == [
        "penstock.yaml:3: deployments.idle: no model uses this deployment",
        "penstock.yaml:7: deployments.far.api_key: the environment variable NOT_SET is not set",
        "penstock.yaml:5: deployments.far.base_url: the api_key travels unencrypted over http://",
    ]
    vendors = """\
        version: 1
        deployments:
          gpt: {base_url: https://api.openai.com, model: gpt-4o-mini}
          claude:
            {provider: anthropic, base_url: https://api.anthropic.com, model: claude-haiku-4-5, api_key: "${NO_KEY}"}
        models: {chat: [gpt, claude]}
        """
    assert [problem.written("penstock.yaml") for problem in read(vendors).warnings] == [
        "penstock.yaml:3: deployments.gpt: api.openai.com wants an api_key",
        "penstock.yaml:3: deployments.gpt.base_url: the API of api.openai.com is below /v1, which is missing",
        "penstock.yaml:5: deployments.claude.api_key: the environment variable NO_KEY is not set",
    ]
    assert [problem.sentence for problem in read("version: 1").warnings] == [
        "there are no models, so there is nothing that clients could ask for"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\ndeployments: {a: {provider: openai, model: m, api_key: hunter2}}",
        "version: 1\ndeployments: {a: {provider: openai, model: m, api_key: {hunter2x: hunter2}}}".replace("2x", ""),
        "version: 1\ndeployments: {a: {provider: openai, model: m, apikey: hunter2}}",
        "version: 1\ndeployments: {a: {provider: openai, model: m, base_url: 'https://me:hunter2@host/v1'}}",
        "version: 1\ndeployments: {a: {provider: openai, model: m, base_url: 'hunter2'}}",
        "version: 1\nstate: {database: 'postgresql://me:hunter2@host/db', counters: 'redis://:hunter2@host', cache: 'redis://:hunter2@host'}",
        "version: 1\nstate: {database: 'postgresql://${SECRET}@host/db', counters: '${SECRET}x', cache: '${SECRET}x'}",
        "version: 1\ngateway: {listen: '${SECRET}', workers: '${SECRET}', drain: '${SECRET}', max_body: '${SECRET}'}",
        "version: ${SECRET}",
        "version: 1\nmodels: {chat: '${SECRET}', m: {targets: ['${SECRET}'], route: '${SECRET}'}}",
        "version: 1\ndeployments: {a: {engine: '${SECRET}', weights: 'x', price: {input: '${SECRET}'}}}",
        "version: 1\ndeployments: '${SECRET}'\nmodels: '${SECRET}'\ngateway: '${SECRET}'",
        "version: 1\ndeployments: {a: {provider: openai, model: 'a\n${SECRET}'}}\nmodels: ${SECRET}x\n",
        "version: 1\nx: 'hunter2\n",
        "version: 1\nx: {hunter2 ${SECRET}: 1\n",
    ],
)
def test_no_secret_is_repeated_in_an_error(text: str) -> None:
    with pytest.raises(InvalidStack) as caught:
        parse(text.encode(), Path("/srv/penstock.yaml"), "penstock.yaml", {"SECRET": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value)
    assert "hunter2" not in "".join(problem.sentence for problem in caught.value.problems)
    assert caught.value.__cause__ is None


def test_addresses_that_cannot_be_meant_are_warned_of_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "penstock.yaml"
    path.write_text(
        'version: 1\nstate: {database: "${DATABASE_URL}", counters: "${REDIS_URL}", cache: "${CACHE}"}\nmodels: {}\n'
    )

    def told(**environ: str) -> list[str]:
        return [found.sentence for found in load(path, environ, tmp_path).warnings if "state" in found.path]

    assert told() == [f"the environment variable {name} is not set" for name in ("DATABASE_URL", "REDIS_URL", "CACHE")]
    assert told(DATABASE_URL="postgresql://h/x", REDIS_URL="rediss://h", CACHE="redis://h") == []
    assert told(DATABASE_URL="mysql://hunter2@h", REDIS_URL="localhost:6379", CACHE="h") == [
        "the address in the environment variable DATABASE_URL must begin with postgresql:// or postgres://",
        "the address in the environment variable REDIS_URL must begin with redis:// or rediss:// or unix://",
        "the address in the environment variable CACHE must begin with redis:// or rediss:// or unix://",
    ]
