"""docs/gateway.md cannot drift from the table of errors, nor docs/dialects.md from the code."""

import re
import subprocess
import sys
from pathlib import Path

from penstock.gateway.dialects.errors import _REJECTED, MEANINGS
from penstock.gateway.dialects.spoken import BY_PATH
from penstock.gateway.stored import ACTIONS, PATH
from penstock.gateway.translation import TRANSLATIONS
from tests.processes import front_with_lab

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "gateway.md").read_text()
DIALECTS = (DOCS / "dialects.md").read_text()
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
    assert all(f"`{PATH}{{id}}{below}` | {', '.join(methods)} |" in PAGE for below, methods in ACTIONS.items())


def test_every_operation_on_kept_responses_is_listed() -> None:
    assert all(f"`{operation}`" in DIALECTS for methods in ACTIONS.values() for operation in methods.values())


def test_every_dialect_and_every_translation_is_listed() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", DIALECTS, re.MULTILINE))
    spoken = {(spoken.dialect.value, spoken.path) for spoken in BY_PATH.values()}
    assert rows == spoken | {(client.value, upstream.value) for client, upstream in TRANSLATIONS}


def test_the_example_runs(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```$", DIALECTS, re.MULTILINE | re.DOTALL)
    with front_with_lab(tmp_path) as (front, _):
        running = example.replace("http://127.0.0.1:8080", front.url).replace("sk-ps-…", front.key)
        said = subprocess.run([sys.executable, "-c", running], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "echo: What is 27 + 45?\n"
