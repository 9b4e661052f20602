"""docs/gateway.md cannot drift from the table of errors."""

import re
from pathlib import Path

from penstock.gateway.dialects.errors import _REJECTED, MEANINGS
from penstock.gateway.dialects.spoken import BY_PATH

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()
ROWS = {
    (int(row[1]), code)
    for row in re.finditer(r"^\| (\d{3}) \| ([^|]+) \|", PAGE, re.MULTILINE)
    for code in re.findall(r"`(\w+)`", row[2])
}


def test_every_meaning_of_an_error_is_in_the_table() -> None:
    meanings = [*(found for _, found in MEANINGS), *_REJECTED.values()]
    assert {(found.status, found.code) for found in meanings if found.code} <= ROWS


def test_every_row_is_a_code_that_exists() -> None:
    source = "".join(path.read_text() for path in (Path(__file__).parents[2] / "src/penstock/gateway").rglob("*.py"))
    assert all(f'"{code}"' in source for _, code in ROWS)


def test_every_path_is_listed() -> None:
    assert all(f"`{path}`" in PAGE for path in BY_PATH)
