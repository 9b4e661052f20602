"""The page lists every variable that the code reads."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "environment.md").read_text()
ROWS = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))


def in_the_code() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        found.update(re.findall(r"\b(?:PENSTOCK_[A-Z_]+|[A-Z]+_PROXY)\b", path.read_text()))
    return found


def test_the_page_and_the_code_name_the_same_variables() -> None:
    assert {"PENSTOCK_HOME", "PENSTOCK_ADMIN_KEY", "HTTPS_PROXY"} <= in_the_code()
    assert set(re.findall(r"`((?:PENSTOCK_[A-Z_]+|[A-Z]+_PROXY))`", ROWS)) == in_the_code()
