"""What requests name that an upstream's account keeps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.dialects import anthropic, openai, responses
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest

FILE = {"type": "file", "file": {"file_id": "file-1"}}
SOURCE = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}


def of_chat(content: Any, **fields: Any) -> str:
    turns = [{"role": "user", "content": "hi"}, {"role": "user", "content": content}]
    return openai.parse(Dialect.CHAT, json.dumps({"model": "m", "messages": turns, **fields}).encode()).reference


def of_messages(content: Any, **fields: Any) -> str:
    asked = {"model": "m", "messages": [{"role": "user", "content": content}], **fields}
    body = json.dumps({**asked, "max_tokens": 5}).encode()
    found = anthropic.parse(body).reference
    assert anthropic.parse_count(json.dumps(asked).encode()).reference == found
    return found


def of_responses(given_: Any, **fields: Any) -> str:
    return responses.parse(json.dumps({"model": "m", "input": given_, **fields}).encode()).reference


def test_files_in_chats() -> None:
    assert of_chat([{"type": "text", "text": "x"}, FILE]) == "messages[1].content[1].file.file_id"


@pytest.mark.parametrize(("audio", "where"), [({"id": "audio_1"}, "messages[1].audio"), (None, "")])
def test_sound_of_an_earlier_answer(audio: Any, where: str) -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "audio": audio}]
    assert openai.parse(Dialect.CHAT, json.dumps({"model": "m", "messages": turns}).encode()).reference == where


@pytest.mark.parametrize(("container", "where"), [("cntr_1", "input[0].container_id"), (None, "")])
def test_containers_that_a_tool_has_run_in(container: Any, where: str) -> None:
    call = {"type": "code_interpreter_call", "id": "ci_1", "code": "1", "container_id": container}
    assert of_responses([call, {"role": "user", "content": "go on"}]) == where


def test_containers_that_a_shell_has_run_in() -> None:
    call = {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls"]}}
    there = {"type": "container_reference", "container_id": "cntr_1"}
    assert of_responses([{**call, "environment": there}]) == "input[0].environment"
    assert of_responses([{**call, "environment": {"type": "local"}}]) == of_responses([call]) == ""


def test_what_googles_account_has_cached() -> None:
    assert of_chat("x", extra_body={"google": {"cached_content": "cachedContents/1"}}) == "extra_body"
    assert of_chat("x", extra_body={"google": {"thinking_config": {}}}) == ""


@pytest.mark.parametrize("shape", [lambda n: [[0] * n] * n, lambda n: {"values": [{"x": 0}] * n * n}])
def test_tools_are_looked_through_as_far_as_anybody_needs(shape: Callable[[int], Any]) -> None:
    assert of_responses("x", tools=[{"type": "web_search", "filters": shape(100)}]) == ""
    with pytest.raises(InvalidRequest, match="100000 values"):
        of_responses("x", tools=[{"type": "web_search", "filters": shape(400)}])


def steps(action: Callable[[], object]) -> int:
    """Return how many functions of Python are called or gone on with."""
    count = 0

    def called(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(called)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("of", [of_chat, of_messages])
@pytest.mark.parametrize("part", [{"file": 0}, {"type": "tool_result", "content": [{"type": "text", "text": "x"}]}])
def test_ten_times_the_parts_are_ten_times_the_work(of: Callable[[Any], str], part: Any) -> None:
    few, many = (steps(partial(of, [part] * n)) for n in (20, 200))
    assert many < 11 * few


@pytest.mark.parametrize(
    "content",
    [
        "the file_id",
        [{"type": "text", "text": '{"file_id": "x"}'}],
        [{"type": "file", "file": {"file_data": "x", "filename": "file_id"}}],
        [{"type": "file", "file": {"file_id": None, "file_data": "x"}}],
    ],
)
def test_other_content_of_chats(content: Any) -> None:
    assert of_chat(content) == ""


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ([SOURCE], "messages[0].content[0].source.file_id"),
        ([{"type": "container_upload", "file_id": "f"}], "messages[0].content[0].file_id"),
        ([{"type": "tool_result", "content": [SOURCE]}], "messages[0].content[0].content[0].source.file_id"),
        ([{"type": "document", "source": {"type": "content", "content": [SOURCE]}}],
         "messages[0].content[0].source.content[0].source.file_id"),
    ],
)  # fmt: skip
def test_files_in_messages(content: Any, where: str) -> None:
    assert of_messages(content) == where


def test_a_container_of_messages() -> None:
    assert of_messages("hi", container="c_1") == "container"
    assert of_messages("hi", container=None) == ""


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "input": {"file_id": "mine"}},
        {"type": "text", "text": "x", "citations": [{"file_id": "file_1"}]},
        {"type": "bash_code_execution_tool_result", "content": {"content": [{"file_id": "file_1"}]}},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/file_id"}},
    ],
)
def test_other_blocks_of_messages(block: Any) -> None:
    assert of_messages([block]) == ""


@pytest.mark.parametrize(
    ("item", "where"),
    [
        ({"type": "item_reference", "id": "msg_1"}, "input[0]"),
        ({"id": "msg_1"}, "input[0]"),
        ({"id": "msg_1", "type": None}, "input[0]"),
        ({"id": "msg_1", "type": ""}, "input[0]"),
        ({"id": "msg_1", "role": None}, "input[0]"),
        ({"id": "msg_1", "role": ""}, "input[0]"),
        ({"type": "image_generation_call", "id": "ig_1"}, "input[0]"),
        ({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}, "input[0].content[0].file_id"),
        ({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}, "input[0].content[0].file_id"),
        ({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file", "file_id": "f"}]},
         "input[0].output[0].file_id"),
        ({"type": "computer_call_output", "output": {"file_id": "f"}}, "input[0].output.file_id"),
    ],
)  # fmt: skip
def test_items_and_files_of_responses(item: Any, where: str) -> None:
    assert of_responses([item]) == where


@pytest.mark.parametrize(
    ("field", "where"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "tools[0].vector_store_ids"),
        ({"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, "tools[0].container"),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["f"]}}]},
         "tools[0].container.file_ids"),
        ({"tools": [{"type": "mcp", "connector_id": "connector_gmail"}]}, "tools[0].connector_id"),
        ({"tools": [{"type": "image_generation", "input_image_mask": {"file_id": "f"}}]},
         "tools[0].input_image_mask.file_id"),
        ({"tools": [{"type": "shell", "environment": {"skills": [{"skill_id": "s"}]}}]},
         "tools[0].environment.skills.skill_id"),
    ],
)  # fmt: skip
def test_fields_and_tools_of_responses(field: dict[str, Any], where: str) -> None:
    assert of_responses("hi", **field) == where


@pytest.mark.parametrize(
    "field",
    [
        {"conversation": None, "prompt": None},
        {"tools": [{"type": "function", "name": "file_id", "parameters": {"properties": {"file_id": {}}}}]},
        {"tools": [{"type": "custom", "name": "x", "file_id": 1}]},
        {"tools": [{"type": "namespace", "tools": [{"type": "function", "parameters": {"file_id": {"a": 1}}}]}]},
        {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        {"tools": [{"type": "mcp", "server_url": "https://a.example", "headers": {"x": "file_id"}}]},
        {"metadata": {"file_id": "x", "conversation": "y"}},
    ],
)
def test_other_fields_of_responses(field: dict[str, Any]) -> None:
    assert of_responses("hi", **field) == ""


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "the file_id of an item_reference"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"file_id": "x"}'},
        {"type": "image_generation_call", "id": "ig_1", "result": "aGk="},
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "x", "annotations": [{"type": "file_citation", "file_id": "f"}]}]},
    ],
)  # fmt: skip
def test_other_items_of_responses(item: Any) -> None:
    assert of_responses([item]) == ""


@given(st.sets(st.integers(0, 6)), st.booleans())
def test_a_name_is_found_however_it_is_spelt(places: set[int], upper: bool) -> None:
    spelt = "".join(
        f"\\u{ord(sign):04{'X' if upper else 'x'}}" if place in places else sign for place, sign in enumerate("file_id")
    )
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": [FILE]}]}).replace(
        '"file_id"', f'"{spelt}"'
    )
    assert openai.parse(Dialect.CHAT, body.encode()).reference == "messages[0].content[0].file.file_id"


def test_half_a_character_hides_nothing() -> None:
    file = b'{"text":"\\ud83d","type":"file","file":{"file_id":"f"}}'
    with pytest.raises(InvalidRequest):
        openai.parse(Dialect.CHAT, b'{"model":"m","messages":[{"role":"user","content":[%b]}]}' % file)


@pytest.mark.parametrize("depth", [10, 400, 900, 5000])
def test_what_is_deep_is_found_or_refused(depth: int) -> None:
    content = b'[{"content":' * depth + b'[{"file_id":"f"}]' + b"}]" * depth
    body = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":%b}]}' % content
    try:
        found = anthropic.parse(body).reference
    except InvalidRequest as error:
        assert error.code == "invalid_json"
    else:
        assert found.startswith("messages[0].content[0].content")


def test_paths_stay_short() -> None:
    tool: Any = {"file_id": "f"}
    for _ in range(100):
        tool = {"x" * 500: tool}
    found = of_responses("hi", tools=[{"type": "shell", **tool}])
    assert found
    assert len(found) <= 200


@pytest.mark.parametrize(
    "content", [[], ["x", 1, 1.5, True, None], [{"type": 5, "content": 7, "source": "x", "file": []}]]
)
def test_whatever_else_stands_there_passes(content: Any) -> None:
    assert of_chat(content) == of_messages(content) == of_responses([{"role": "user", "content": content}]) == ""
