"""Two real engines: what is chosen by prompts is what they have read, as they say themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import uvloop
from bench.affinity.live import ask, questions, stack_text

from penstock.lab.running import start
from penstock.snapshot.config import Balance

pytestmark = pytest.mark.stack

DOCUMENTS, QUESTIONS = 8, 4


def _known(home: Path, balance: Balance) -> float:
    home.mkdir(mode=0o700)
    with start(home, stack_text(balance, workers=1)) as running:
        found = uvloop.run(ask(running, questions(DOCUMENTS, QUESTIONS), callers=1))
    return float(found["cached"] / found["tokens"])


def test_questions_about_one_document_go_where_it_has_been_read(tmp_path: Path) -> None:
    known = {way: _known(tmp_path / way, way) for way in (Balance.PREFIX, Balance.ROUND_ROBIN)}
    assert known[Balance.PREFIX] > 0.95 * (1 - 1 / QUESTIONS), "each document is read once"
    assert known[Balance.ROUND_ROBIN] < known[Balance.PREFIX] - 0.1
