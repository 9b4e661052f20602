"""The page, the examples and the schema say the same as the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.stack.load import load, parse
from penstock.stack.schema import json_schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "stack.md").read_text()
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def keys(schema: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Walk the schema's keys as `gateway.listen`, with NAME for names of the user's choice."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    for variant in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from keys(schema, variant, path)
    for item in node.get("patternProperties", {}).values():
        yield from keys(schema, item, f"{path}.NAME")
    for key, item in node.get("properties", {}).items():
        below = f"{path}.{key}" if path else key
        yield below, item
        yield from keys(schema, item, below)


KEYS = dict(keys(json_schema(), json_schema()))


def test_the_walk_finds_keys_of_every_depth() -> None:
    assert {"version", "gateway.tls.key", "deployments.NAME.price.cache_read", "models.NAME.timeout.total"} <= set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_documented(key: str) -> None:
    assert f"`{key}`" in PAGE


def test_no_key_is_documented_that_does_not_exist() -> None:
    documented = re.findall(r"^\| `([a-zA-Z_.]+)` \|", PAGE, re.MULTILINE)
    assert documented
    assert set(documented) <= set(KEYS)


@pytest.mark.parametrize("key", [key for key, node in KEYS.items() if node.get("default")])
def test_every_default_is_documented_as_it_is(key: str) -> None:
    (row,) = re.findall(rf"^\| `{re.escape(key)}` \|(.*)$", PAGE, re.MULTILINE)
    assert row.split("|")[1].strip() == f"`{KEYS[key]['default']}`"


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_block_of_the_page_is_a_valid_stack(number: int) -> None:
    parse(BLOCKS[number].encode(), Path("/srv/penstock.yaml"), f"docs/stack.md block {number}", {})


OTHERS = {
    f"{path.name} {number}": block
    for path in sorted((ROOT / "docs").glob("*.md"))
    for number, block in enumerate(
        re.findall(r"^```yaml\n(version: 1\n.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
    )
}


@pytest.mark.parametrize("name", OTHERS)
def test_every_stack_of_the_docs_is_valid(name: str) -> None:
    parse(OTHERS[name].encode(), Path("/srv/penstock.yaml"), name, {})


def test_the_page_has_blocks() -> None:
    assert len(BLOCKS) >= 8


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads(path: Path) -> None:
    stack = load(path, {"OPENAI_API_KEY": "set"}, ROOT)
    assert stack.models
    assert stack.warnings == ()


def test_there_are_examples() -> None:
    assert EXAMPLES


def test_the_schema_is_a_draft_2020_12_document_that_names_no_host() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == "urn:penstock:stack:1"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["version"]


@pytest.mark.parametrize("key", KEYS)
def test_an_editor_gets_a_description_of_every_key(key: str) -> None:
    schema, node = json_schema(), KEYS[key]
    if "description" not in node and "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    assert node["description"]


def test_the_schema_allows_references_where_numbers_are_wanted() -> None:
    variants = KEYS["gateway.workers"]["anyOf"]
    assert {"type": "integer", "minimum": 1, "maximum": 64} in variants
    assert any(variant["type"] == "string" and re.search(variant["pattern"], "${WORKERS}") for variant in variants)
