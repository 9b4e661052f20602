"""Values are written so that the product reads them as they are."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stack.deployments import Provider
from penstock.stack.litellm import writer
from penstock.stack.litellm.convert import Imported
from penstock.stack.load import parse
from penstock.stack.reader import PRINTABLE
from penstock.stack.units import Duration


def written(model: str, weight: Decimal = Decimal(1)) -> str:
    stack = {
        "version": 1,
        "deployments": {
            "a": {"model": model.replace("$", "$$"), "provider": "openai"},
            "1e5": {"provider": "openai", "model": "m"},
        },
        "models": {"true": {"targets": {"a": weight, "1e5": Decimal(2)}, "timeout": {"total": str(Duration(1500))}}},
    }
    return writer.text(Imported(stack, {}, ()), "c.yaml")


def model_of(text: str) -> str:
    stack = parse(text.encode(), Path("/srv/penstock.yaml"), "penstock.yaml", {})
    assert list(stack.models) == ["true"]
    assert list(stack.models["true"].weighted) == ["a", "1e5"]
    deployment = stack.deployments["a"]
    assert isinstance(deployment, Provider)
    return deployment.model


@pytest.mark.parametrize(
    "model",
    [
        "123",
        "1.50",
        "true",
        "null",
        "~",
        "0x1F",
        "a: b",
        "- a",
        "#a",
        "a #b",
        '"',
        "\\",
        "${A}",
        "é\u2028\U0001f600",
        " a ",
    ],
)
def test_words_are_read_as_they_were(model: str) -> None:
    assert model_of(written(model)) == model


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(PRINTABLE.fullmatch))
def test_any_line_is_read_as_it_was(model: str) -> None:
    assert model_of(written(model)) == model


def test_a_name_of_the_source_cannot_leave_its_comment() -> None:
    text = writer.text(Imported({"version": 1}, {}, ()), "c\nversion: 2\n.yaml")
    assert text.splitlines()[1] == "version: 1"


@pytest.mark.parametrize("number", ["0.3", "1000000", "0.000000001", "123456.789012345", "999999.999999999"])
def test_json_holds_numbers_exactly(number: str) -> None:
    back = json.loads(json.dumps(writer.plain({"price": [Decimal(number)]})), parse_float=Decimal)["price"][0]
    assert Decimal(back) == Decimal(number)
