"""docs/lab.md says what is true, of every order."""

import re
from pathlib import Path

import msgspec
import pytest

from penstock.lab import grammar, script
from penstock.lab.orders import Order

TEXT = (Path(__file__).parents[2] / "docs" / "lab.md").read_text()
ROWS: list[tuple[str, str, str]] = re.findall(r"^\| `(\w+)` \| (.+) \| `(.+)` \|$", TEXT, re.MULTILINE)


def test_every_order_is_documented_once() -> None:
    assert sorted(name for name, _, _ in ROWS) == sorted(grammar.FIELDS)


@pytest.mark.parametrize(("name", "meaning", "example"), ROWS, ids=[name for name, _, _ in ROWS])
def test_every_example_is_an_order(name: str, meaning: str, example: str) -> None:
    order = grammar.parse(example)
    default = next(field.default for field in msgspec.structs.fields(Order) if field.name == name)
    assert getattr(order, name) != default, "an example shows something"
    for choice in grammar.FIELDS[name].choices:
        if choice not in {default, "all"}:
            assert f"`{choice}`" in meaning


def test_the_script_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.+?)```", TEXT, re.DOTALL)
    assert len(script.read(text.encode())) == 4
    for field in msgspec.structs.fields(script.Rule):
        assert f"{field.name}:" in text


def test_orders_in_the_prose_are_orders() -> None:
    for example in re.findall(r"x-lab: ([^']+)'", TEXT):
        assert grammar.parse(example) != Order()
    for example in re.findall(r"`lab: (\{.+?\})`", TEXT):
        assert grammar.parse_json(example) != Order()
