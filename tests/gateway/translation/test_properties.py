"""What holds of translations whatever is said."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.dialects import document
from penstock.gateway.dialects.call import Call
from penstock.gateway.translation import counts
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest, UpstreamFailed, UpstreamUnusable
from penstock.types.usage import Usage, UsageSource
from tests.gateway.translation.exchange import chat_call, chunks, message, spoken, to_chat, to_messages

DONE = b"data: [DONE]\n\n"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 1.5, 1e300, 2**70, "", "x", "\ud83d", "null", [], [None], [1], ["x"], [[]], [{}], {},
    {"x": 1}, {"type": 1}, {"type": "text"}, {"type": "text", "text": "x"}, {"type": "text", "text": None},
    {"type": "json_schema"}, {"type": "enabled"}, {"type": "tool"}, {"url": "data:,"},
    {"file_data": "data:text/plain;base64,!"},
    [{"type": "text", "text": "x"}], [{"type": "tool_use", "id": "i", "name": "n", "input": []}], [{"index": 0}],
    [{"id": "i", "function": {"name": "f", "arguments": "{"}}], [{"index": 2**70, "function": None}],
    [{"index": -1, "id": "", "function": {"name": "", "arguments": "x"}}], [{"type": "thinking", "thinking": "x"}],
    {"input_tokens": -1, "output_tokens": 1}, {"prompt_tokens": 1e9}, {"id": "i", "model": "m", "usage": {"x": []}},
]  # fmt: skip
JSON = st.sampled_from(ODD)
OBJECT = st.dictionaries(TEXT, st.integers() | TEXT, max_size=3)
NAMES = st.text("abcdefgh_", min_size=1, max_size=8)


def written(data: Any, *, ascii_only: bool, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data, ensure_ascii=ascii_only)}\n\n".encode()


def pieces(text: str, draw: st.DataObject) -> list[str]:
    positions = sorted(draw.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    return [text[a:b] for a, b in pairwise([0, *positions, len(text)])]


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


BLOCKS = st.lists(
    st.one_of(
        st.builds(lambda text: {"type": "text", "text": text}, TEXT),
        st.builds(lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, TEXT, NAMES),
        st.builds(lambda data: {"type": "redacted_thinking", "data": data}, NAMES),
        st.builds(
            lambda name, tool, given: {"type": "tool_use", "id": name, "name": tool, "input": given},
            NAMES,
            NAMES,
            OBJECT,
        ),
    ),
    max_size=6,
)


def streamed(blocks: list[dict[str, Any]], draw: st.DataObject, *, ascii_only: bool) -> bytes:
    """Write an answer as Anthropic streams it."""
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {"id": "i", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 1}},
        }
    ]
    for index, block in enumerate(blocks):
        empty: dict[str, dict[str, Any]] = {
            "text": {"text": ""},
            "thinking": {"thinking": "", "signature": ""},
            "tool_use": {"input": {}},
        }
        events.append(
            {"type": "content_block_start", "index": index, "content_block": block | empty.get(block["type"], {})}
        )
        deltas: list[dict[str, str]] = []
        if block["type"] == "text":
            deltas = [{"type": "text_delta", "text": each} for each in pieces(block["text"], draw)]
        elif block["type"] == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": each} for each in pieces(block["thinking"], draw)]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif block["type"] == "tool_use":
            arguments = json.dumps(block["input"]) if block["input"] else ""
            deltas = [{"type": "input_json_delta", "partial_json": each} for each in pieces(arguments, draw)]
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}})
    events.append({"type": "message_stop"})
    return b"".join(written(each, ascii_only=ascii_only, name=each["type"]) for each in events)


@given(BLOCKS, st.booleans(), st.data())
def test_a_stream_says_what_the_whole_reply_says(
    blocks: list[dict[str, Any]], ascii_only: bool, draw: st.DataObject
) -> None:
    call = chat_call(stream=True, stream_options={"include_usage": True})
    found = spoken(chunks(to_messages(call).events(streamed(blocks, draw, ascii_only=ascii_only))))
    reply = {
        "id": "i", "type": "message", "model": "m", "content": blocks, "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 9},
    }  # fmt: skip
    whole = json.loads(to_messages().reply(json.dumps(reply).encode()))
    said = whole["choices"][0]["message"]
    assert found["content"] == (said["content"] or "")
    assert found["reasoning_content"] == said.get("reasoning_content", "")
    assert found["thinking_blocks"] == said.get("thinking_blocks", [])
    calls = [each["function"] | {"id": each["id"]} for each in said.get("tool_calls", [])]
    assert [each | {"arguments": json.loads(each["arguments"])} for each in found["tool_calls"].values()] == [
        each | {"arguments": json.loads(each["arguments"])} for each in calls
    ]
    assert [each.to_dict() for each in found["usage"]] == [whole["usage"]]


@given(BLOCKS, st.booleans(), st.data())
def test_a_stream_comes_back_through_both_translations(
    blocks: list[dict[str, Any]], ascii_only: bool, draw: st.DataObject
) -> None:
    call = chat_call(stream=True, stream_options={"include_usage": True})
    out = message(to_chat().events(to_messages(call).events(streamed(blocks, draw, ascii_only=ascii_only)))).to_dict()
    content: Any = out["content"]
    for kind, name in (("text", "text"), ("thinking", "thinking")):
        said = "".join(block[name] for block in blocks if block["type"] == kind)
        assert "".join(block[name] for block in content if block["type"] == kind) == said
    calls = [block for block in blocks if block["type"] == "tool_use"]
    assert [block for block in content if block["type"] == "tool_use"] == calls
    assert out["stop_reason"] == ("tool_use" if calls else "end_turn")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("content"), TEXT),
        st.tuples(st.just("reasoning_content"), TEXT),
        st.tuples(st.integers(0, 3), st.just("")),
    ),
    max_size=25,
)


@given(STEPS, st.lists(OBJECT, min_size=4, max_size=4), st.data())
def test_pieces_in_any_order_make_a_message(
    steps: list[tuple[str | int, str]], inputs: list[dict[str, Any]], draw: st.DataObject
) -> None:
    """Calls take turns with each other, with what is said and with thought, and each is whole in the end."""
    left = [pieces(json.dumps(given), draw) for given in inputs]
    begun: list[int] = []
    out, translation = b"", to_chat()
    for kind, text in [*steps, *((index, "") for index in range(4) for _ in range(7) if (index, "") in steps)]:
        if isinstance(kind, str):
            delta: dict[str, Any] = {kind: text}
        else:
            function: dict[str, Any] = {"arguments": left[kind].pop(0)} if left[kind] else {}
            made: dict[str, Any] = {"index": kind, "function": function}
            if kind not in begun:
                begun.append(kind)
                made |= {"id": f"call_{kind}"}
                function["name"] = "f"
            delta = {"tool_calls": [made]}
        out += translation.events(written(chunk(delta), ascii_only=False))
    out += translation.events(written(chunk({}, "stop"), ascii_only=False) + DONE)
    content = [block.to_dict() for block in message(out).content]
    for kind, name in (("text", "content"), ("thinking", "reasoning_content")):
        expected = "".join(text for step, text in steps if step == name)
        assert "".join(str(block[kind]) for block in content if block["type"] == kind) == expected
    assert [block for block in content if block["type"] == "tool_use"] == [
        {"type": "tool_use", "id": f"call_{index}", "name": "f", "input": inputs[index]} for index in begun
    ]


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 50))
def test_every_token_is_counted_once(plain: int, read: int, written_: int, output: int, thought: int) -> None:
    known = Usage(
        plain + read + written_, output + thought, read, UsageSource.UPSTREAM, written_, reasoning_tokens=thought
    )
    in_chat, in_messages = to_chat(), to_messages()
    in_chat.reply(msgspec.json.encode({"choices": [{"message": {}}], "usage": counts.to_chat(known)}))
    assert in_chat.usage == known
    reply = {"id": "", "type": "message", "model": "", "content": [], "usage": counts.to_messages(known)}
    in_messages.reply(msgspec.json.encode(reply))
    assert in_messages.usage == msgspec.structs.replace(known, reasoning_tokens=0)


SAID = TEXT.filter(str.strip)
CHATS = st.lists(
    st.one_of(
        st.builds(lambda text: [{"role": "user", "content": text}], SAID),
        st.builds(lambda text: [{"role": "assistant", "content": text}], SAID),
        st.builds(
            lambda text, given: [
                {
                    "role": "assistant",
                    "content": text,
                    "tool_calls": [
                        {"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": json.dumps(each)}}
                        for i, each in enumerate(given)
                    ],
                },
                *({"role": "tool", "tool_call_id": f"c{i}", "content": f"r{i}"} for i in range(len(given))),
            ],
            SAID,
            st.lists(OBJECT, min_size=1, max_size=3),
        ),
        st.builds(
            lambda data: [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}],
                }
            ],
            NAMES,
        ),
    ),
    min_size=1,
    max_size=6,
).map(lambda groups: [each for group in groups for each in group])


def meaning(given_: list[dict[str, Any]]) -> list[Any]:
    """Return what is said by whom: neighbours of one role say it together."""
    said: list[Any] = []
    for each in given_:
        content = each.get("content") or ""
        if each["role"] == "tool":
            said.append(("tool", each["tool_call_id"], content))
            continue
        parts: list[dict[str, Any]] = [{"text": content}] if isinstance(content, str) else content
        for part in parts:
            what = part.get("text") or part.get("image_url", {}).get("url", "")
            if said and said[-1][0] == each["role"] and said[-1][1] == "says":
                said[-1] = (each["role"], "says", said[-1][2] + what)
            elif what:
                said.append((each["role"], "says", what))
        said += [("calls", call["id"], call["function"]) for call in each.get("tool_calls") or ()]
    return said


@given(CHATS, SAID, st.booleans())
def test_a_request_comes_back_through_both_translations(chats: list[dict[str, Any]], system: str, stream: bool) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "z": 1, "a": 2}}}]
    fields = {"tools": tools, "tool_choice": "required", "stop": ["x"], "temperature": 0.5, "user": "u"}
    call = chat_call(messages=[{"role": "system", "content": system}, *chats], stream=stream, max_tokens=9, **fields)
    body = to_messages(call).request()
    roles = [turn["role"] for turn in json.loads(body)["messages"]]
    assert all(a != b for a, b in pairwise(roles)), "roles alternate"
    back = json.loads(to_chat(Call(Dialect.MESSAGES, "m", stream, True, 9, 1, document.read(body)), "m").request())
    assert back["messages"][0] == {"role": "system", "content": system}
    assert meaning(back["messages"][1:]) == meaning(chats)
    assert {name: back[name] for name in fields} == fields
    assert (back["max_completion_tokens"], back.get("stream", False)) == (9, stream)


SHAPED = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        [
            "messages", "system", "tools", "tool_choice", "stop", "stop_sequences", "temperature", "thinking", "user",
            "metadata", "response_format", "reasoning_effort", "output_config", "n", "logprobs", "service_tier",
        ],
        JSON,
    ),
)  # fmt: skip
PART = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["text", "image", "image_url", "file", "document", "tool_use", "tool_result", "thinking"]
        )
    },
    optional={
        name: JSON | st.just("x") for name in ("text", "image_url", "file", "source", "id", "name", "input", "content")
    },
)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": JSON | st.lists(PART, max_size=3)},
    optional={"tool_calls": JSON, "tool_call_id": JSON},
)


@given(SHAPED, st.lists(TURN, max_size=3), st.booleans())
def test_requests_of_any_form_are_translated_or_refused(
    fields: dict[str, Any], turns: list[dict[str, Any]], shaped: bool
) -> None:
    body = json.dumps({"model": "m", **fields, **({"messages": turns} if shaped else {})}).encode()
    for dialect, made in ((Dialect.CHAT, to_messages), (Dialect.MESSAGES, to_chat)):
        with suppress(InvalidRequest):
            json.loads(made(Call(dialect, "m", False, False, 5, 1, document.read(body))).request())


DELTA = st.fixed_dictionaries(
    {},
    optional={
        name: JSON | st.just("x")
        for name in (
            "type", "text", "thinking", "partial_json", "signature", "stop_reason", "content", "reasoning_content",
            "tool_calls", "refusal", "thinking_blocks",
        )
    },
)  # fmt: skip
CHOICE = st.fixed_dictionaries({}, optional={"delta": DELTA | JSON, "message": DELTA, "finish_reason": JSON})
EVENT = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "message", "message_start", "content_block_start", "content_block_delta", "content_block_stop",
                "message_delta", "message_stop",
            ]
        )
    },
    optional={
        "delta": DELTA | JSON,
        "content_block": DELTA | JSON,
        "message": JSON,
        "usage": JSON,
        "error": JSON,
        "index": JSON,
        "content": st.lists(DELTA, max_size=2) | JSON,
        "choices": st.lists(CHOICE, max_size=2),
    },
)  # fmt: skip


@given(st.lists(EVENT, max_size=5))
def test_events_of_any_form_are_translated_or_refused(given_: list[dict[str, Any]]) -> None:
    for translation in (to_messages(chat_call(stream=True)), to_chat()):
        with suppress(UpstreamFailed):
            out = b"".join(translation.events(written(each, ascii_only=True)) for each in given_) + translation.end()
            out.decode()


@given(st.lists(EVENT, max_size=5), st.sampled_from(["stop", "tool_calls", None]))
def test_whatever_an_upstream_of_chats_says_the_events_are_in_order(
    given_: list[dict[str, Any]], reason: str | None
) -> None:
    translation = to_chat()
    with suppress(UpstreamFailed):
        out = b"".join(translation.events(written(each, ascii_only=True)) for each in given_)
        message_or_less(out + translation.events(written(chunk({}, reason), ascii_only=True) + DONE))


def message_or_less(out: bytes) -> None:
    """Check the grammar alone: arguments may be no JSON, and names may be none."""
    opened: int | None = None
    kinds = [json.loads(line[6:]) for line in out.split(b"\n") if line.startswith(b"data: ")]
    assert (kinds[0]["type"], kinds[-1]["type"]) == ("message_start", "message_stop")
    count = 0
    for data in kinds:
        if data["type"] == "content_block_start":
            assert (opened, data["index"]) == (None, count)
            opened, count = count, count + 1
        elif data["type"].startswith("content_block"):
            assert data["index"] == opened
            opened = None if data["type"] == "content_block_stop" else opened
    assert opened is None


@given(EVENT | JSON | st.binary(max_size=30))
def test_replies_of_any_form_are_translated_or_refused(given_: Any) -> None:
    body = given_ if isinstance(given_, bytes) else json.dumps(given_).encode()
    for translation in (to_messages(), to_chat()):
        with suppress(UpstreamUnusable):
            json.loads(translation.reply(body))
