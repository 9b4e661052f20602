from __future__ import annotations

import json

import pytest

from penstock.stack.describe import describe, describe_problems
from penstock.stack.problem import InvalidStack
from tests.stack.reading import read
from tests.stack.test_load import ENVIRON, WHOLE


def test_the_effective_stack_is_plain_data_with_origins_and_without_secrets() -> None:
    found = describe(read(WHOLE, ENVIRON))
    assert "hunter2" not in json.dumps(found)
    assert found["file"] == "penstock.yaml"
    values = {item["path"]: (item["value"], item["origin"]) for item in found["values"]}
    assert values["gateway.listen"] == ("0.0.0.0:0", "environment LISTEN (penstock.yaml:3)")
    assert values["gateway.max_body"] == ("10000000B", "penstock.yaml:6")
    assert values["gateway.drain"] == ("30s", "default")
    assert values["gateway.tls.key"] == ("/etc/key.pem", "penstock.yaml:7")
    assert values["deployments.mini.weights"] == ("/srv/stack/models/mini.gguf", "penstock.yaml:11")
    assert values["deployments.mini.threads"] == (None, "default")
    assert values["deployments.large.base_url"] == ("http://10.0.0.7:8000/v1", "penstock.yaml:14")
    assert values["deployments.large.api_key"] == ("${OPENAI_API_KEY}", "penstock.yaml:16")
    assert values["deployments.large.price.output"] == ("0.60", "environment PRICE (penstock.yaml:17)")
    assert values['models["gpt-4.1"].timeout.total'] == ("2m", "penstock.yaml:20")
    assert [warning["path"] for warning in found["warnings"]] == ["deployments.large.base_url"]


def test_every_path_is_there_once() -> None:
    paths = [item["path"] for item in describe(read(WHOLE, ENVIRON))["values"]]
    assert len(paths) == len(set(paths))


def test_the_problems_of_a_refused_file_are_plain_data_too() -> None:
    with pytest.raises(InvalidStack) as caught:
        read("version: 1\ngateway: {workrs: 1}\n")
    assert describe_problems(caught.value.problems) == [
        {"path": "gateway.workrs", "line": 2, "sentence": "unknown key, did you mean 'workers'?"}
    ]
