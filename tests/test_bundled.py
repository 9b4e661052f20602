"""The models that ship with Penstock: what their cards say, and that they are as good through a running Penstock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from penstock import bundled
from penstock.lab.running import Running, start

ROOT = Path(__file__).parents[1]
COUNT = 20
STACK = f"""\
version: 1
gateway: {{listen: 127.0.0.1:0, ops: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
deployments: {{{", ".join(f"{name}: {{engine: llama.cpp, weights: 'bundled:{name}'}}" for name in bundled.MODELS)}}}
models: {{{", ".join(f"{name}: {name}" for name in bundled.MODELS)}}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with start(tmp_path_factory.mktemp("bundled"), STACK) as running:
        yield running


def test_an_unknown_name_is_told_those_that_are_known() -> None:
    with pytest.raises(LookupError, match="no bundled model 'maxi'; there are: mini, base"):
        bundled.model("maxi")


@pytest.mark.parametrize("name", bundled.MODELS)
def test_each_model_ships_whole(name: str) -> None:
    model = bundled.model(name)
    assert model.path.read_bytes()[:4] == b"GGUF"
    assert model.path.stat().st_size < 10e6
    measured = ROOT / f"bench/results/exam-{name}"
    assert measured.with_suffix(".md").read_text().strip() in model.path.with_suffix(".md").read_text()
    price = json.loads(measured.with_suffix(".json").read_text())["price"]
    assert (model.input_usd, model.output_usd) == (Decimal(str(price["input"])), Decimal(str(price["output"])))


@pytest.mark.stack
@pytest.mark.parametrize("name", bundled.MODELS)
def test_it_is_as_good_as_its_card_says(running: Running, name: str) -> None:
    """Each level's share of right answers has to be where the card's measurement says, for a smaller exam."""
    command = [sys.executable, "-m", "penstock.cli", "evaluate", name, "--home", str(running.home.root), "--json"]
    found = subprocess.run([*command, "--count", str(COUNT), "--seed", "7"], check=True, capture_output=True, text=True)
    rows = {row["level"]: row for row in json.loads(found.stdout)["results"] if row["family"] == "all"}
    card = json.loads((ROOT / f"bench/results/exam-{name}.json").read_text())["exam"]["results"]
    for row in card:
        if row["family"] == "all":
            low, high = rows[row["level"]]["interval"]
            assert low <= row["interval"][1], (name, row["level"])
            assert row["interval"][0] <= high, (name, row["level"])
    assert rows["easy"]["cost_usd"] > 0
