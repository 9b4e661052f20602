import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.dialects import events
from penstock.types.errors import UpstreamFailed

STREAMS = [
    b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
    b'data: {"a":1}\r\n\r\ndata: {"b":2}\r\n\r\ndata: [DONE]\r\n\r\n',
    b"data: 1\r\rdata: [DONE]\r\r",
    ': comment\n\nevent: x\nid: 7\ndata: {"é":"ü"}\ndata: more\n\n\n\ndata:[DONE]\n\n'.encode(),
    b"data: 1\r\n\ndata: 2\n\r\ndata: 3\n\n",
    b"data: one\n\ndata: without an end",
]  # fmt: skip


def cuts(length: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, length), max_size=12).map(sorted)


@given(st.data(), st.sampled_from(STREAMS))
def test_events_are_the_same_however_the_bytes_are_cut(data: st.DataObject, stream: bytes) -> None:
    positions = [0, *data.draw(cuts(len(stream))), len(stream)]
    splitter = events.Splitter()
    whole = [splitter.feed(stream[a:b]) for a, b in pairwise(positions)]
    rest = splitter.rest()
    assert b"".join(whole) + rest == stream, "not a byte is lost, added or changed"
    for part in whole:
        assert not part or re.search(rb"(\r\n|\n|\r)(\r\n|\n|\r)\Z", part), "only whole events go out"
    parts = [event for part in whole for event in events.split(part)] + ([rest] if rest else [])
    at_once = [event for event in events.split(stream) if event]
    assert [events.data_of(event) for event in parts if events.data_of(event)] == [
        events.data_of(event) for event in at_once if events.data_of(event)
    ]


def test_one_byte_at_a_time() -> None:
    splitter = events.Splitter()
    stream = STREAMS[1]
    out = [splitter.feed(stream[i : i + 1]) for i in range(len(stream))]
    assert [part for part in out if part] == [
        b'data: {"a":1}\r\n\r\n',
        b'data: {"b":2}\r\n\r\n',
        b"data: [DONE]\r\n\r\n",
    ]


def test_an_endless_event_is_refused() -> None:
    splitter = events.Splitter()
    with pytest.raises(UpstreamFailed, match="8 MiB"):
        for _ in range(20):
            splitter.feed(b"x" * 1024 * 1024)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\r\n\r\n", b" x"),
        (b"event: e\ndata: a\ndata: b\n\n", b"a\nb"),
        (b": ping\n\n", b""),
        (b"data\n\n", b""),
        (b"database: x\n\n", b""),
    ],
)
def test_data_of_an_event(event: bytes, data: bytes) -> None:
    assert events.data_of(event) == data


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b'{"choices":[{"delta":{"role":"assistant","content":""}}]}', False),
        (b'{"choices":[{"delta":{"role":"assistant","content":null}}]}', False),
        (b'{"choices":[{"delta":{}}]}', False),
        (b'{"choices":[]}', False),
        (b'{"choices":[{"delta":{"content":"x"}}]}', True),
        (b'{"choices":[{"delta":{"reasoning_content":"x"}}]}', True),
        (b'{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}', True),
        (b'{"choices":[{"delta":{},"finish_reason":"stop"}]}', True),
        (b'{"choices":[{"text":"x"}]}', True),
        (b'{"choices":[{"text":""}]}', False),
        (b'{"choices":[{"delta":{"audio":{"data":"x"}}}]}', True),
        (b'{"choices":[{"delta":{"content":[{"type":"text","text":"x"}]}}]}', True),
        (b'{"choices":[{"delta":{"content":"","tool_calls":[],"annotations":{}}}]}', False),
    ],
)
def test_content_is_told_from_what_only_announces_it(data: bytes, content: bool) -> None:
    chunk = events.chunk_of(b"data: " + data + b"\n\n")
    assert chunk is not None
    assert chunk.content is content


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n', b""),
        (b'data: {"choices":null,"usage":{"prompt_tokens":1}}\r\n\r\n', b""),
        (b'data: {"choices":[],"usage":null}\n\n', b'data: {"choices":[]}\n\n'),
        (
            b'id: 7\r\ndata: {"x":1.50, "choices":[{"text":"x"}],"usage":{"prompt_tokens":1}}\r\n\r\n',
            b'id: 7\r\ndata: {"x":1.50, "choices":[{"text":"x"}]}\r\n\r\n',
        ),
        (
            b'data: {"usage": {"prompt_tokens": 1}, "choices": [{"text": "x"}]}\n\n',
            b'data: {"choices": [{"text": "x"}]}\n\n',
        ),
        (  # the inner one is nobody's business
            b'data: {"usage":null,"choices":[{"text":"x"}],"x":{"y":1,"usage":null}}\n\n',
            b'data: {"choices":[{"text":"x"}],"x":{"y":1,"usage":null}}\n\n',
        ),
        (  # where it cannot be cut out of the bytes, the event is written anew
            b'data: {"choices":[{"text":"x"}],\ndata: "usage":\ndata: null}\n\n',
            b'data: {"choices":[{"text":"x"}]}\n\n',
        ),
        (b'data: {"error":{"message":"x"},"usage":{}}\n\n', b'data: {"error":{"message":"x"}}\n\n'),
        (
            b'data: {"choices":[{"text":"\\"usage\\":null"}]}\n\n',
            b'data: {"choices":[{"text":"\\"usage\\":null"}]}\n\n',
        ),
        (b': "usage"\n\n', b': "usage"\n\n'),
    ],
)
def test_usage_is_taken_out_of_an_event(event: bytes, left: bytes) -> None:
    assert events.without_usage(event) == left


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("at", [b'"delta":', b"}}]}", b"[{"])
def test_a_line_end_between_the_tokens_of_a_chunk_makes_it_malformed(end: bytes, at: bytes) -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}'
    before, _, after = chunk.partition(at)
    for event in (before + at[:-1] + end + at[-1:] + after + end * 2, before + at + end + after + b"x" + end * 2):
        assert events.ordinary(event, True) == b""
    assert events.malformed(before + at[:-1] + end + at[-1:] + after + end * 2)
    assert events.ordinary(chunk + b"\n\n", True)
    assert events.ordinary(chunk + b"\r\n\r\n", True)


def test_usage_is_taken_out_of_data_in_several_lines_without_breaking_them() -> None:
    event = b'data: {"a":[1,\ndata: 2],"choices":[{"text":"x"}],\ndata: "usage" : {"prompt_tokens":1}}\n\n'
    assert events.without_usage(event) == b'data: {"a":[1, 2],"choices":[{"text":"x"}]}\n\n'


def test_fields_whose_names_begin_like_data_stay_with_their_event() -> None:
    event = b'database: 1\ndata: {"choices":[{"text":"x"}],"usage" : {"prompt_tokens":1}}\ndata2\n\n'
    assert events.without_usage(event) == b'database: 1\ndata2\ndata: {"choices":[{"text":"x"}]}\n\n'


def test_names_that_are_not_utf_8_do_no_harm() -> None:
    event = b'data: {"\xff":1,"choices":[{"text":"x"}],"usage" : {"prompt_tokens":1}}\n\n'
    assert events.without_usage(event) == event
    assert events.malformed(event), "a relay does not send it"


def test_half_a_character_as_an_escape_is_not_malformed() -> None:
    """Clients in JavaScript and Python read it; upstreams in JavaScript write it when they cut inside an emoji."""
    assert not events.malformed(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n')
    assert events.malformed(b'data: {"choices":[{"delta":{"content":"\\ud83"}}]}\n\n')
    assert events.malformed(b'data: {"choices":[{"delta":{"content":"\x01"}}]}\n\n')


def test_white_space_before_a_chunk_hides_nothing() -> None:
    event = b'data:  {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    assert events.chunk_of(event) is not None
    assert events.without_usage(event) == b""
    assert events.malformed(b"data:  {\n\n")


@pytest.mark.parametrize(
    ("event", "done"),
    [
        (b"data: [DONE]\n\n", True),
        (b"data:[DONE]\r\n\r\n", True),
        (b'data: {"x":"[DONE]"}\n\n', False),
        (b": [DONE]\n\n", False),
    ],
)
def test_the_end(event: bytes, done: bool) -> None:
    assert events.is_done(event) is done


def test_a_bare_carriage_return_ends_an_event_at_once() -> None:
    splitter = events.Splitter()
    assert splitter.feed(b"data: 1\r") == b""
    assert splitter.feed(b"\r") == b"data: 1\r\r"
    assert splitter.feed(b"data: 2\r\n\r") == b"", "the second half of CRLF may follow"
    assert splitter.feed(b"\n") == b"data: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("rest", "whole"),
    [
        (b"", b""),
        (b"data: 1", b"data: 1\n\n"),
        (b"data: 1\n", b"data: 1\n\n"),
        (b"data: 1\r\n", b"data: 1\r\n\r\n"),
        (b"data: 1\r", b"data: 1\r\r"),
        (b"data: 1\r\n\r", b"data: 1\r\n\r"),
    ],
)
def test_an_event_without_its_blank_line_gets_it(rest: bytes, whole: bytes) -> None:
    assert events.completed(rest) == whole


TEXT = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]'


@pytest.mark.parametrize(
    ("whole", "left"),
    [
        (TEXT + b"}\n\n", TEXT + b"}\n\n"),
        (TEXT + b',"usage":null}\n\n', TEXT + b"}\n\n"),
        (TEXT + b',"usage":null,"obfuscation":"ab"}\n\n', TEXT + b',"obfuscation":"ab"}\n\n'),
        (TEXT + b',"x":{"y":1,"usage":null}}\n\n', TEXT + b',"x":{"y":1,"usage":null}}\n\n'),
        (TEXT.replace(b'"x"}', "{}ž".encode()) + b"}\n\n", b""),
        (TEXT.replace(b'"x"}', '"ž"}'.encode()) + b"}\n\n", TEXT.replace(b'"x"}', '"ž"}'.encode()) + b"}\n\n"),
        (TEXT.replace(b'"x"}', b'"\xff"}') + b"}\n\n", b""),
        (TEXT + b"\n\n", b""),
        (TEXT + b"}\n\n" + TEXT + b"}\n\n", b""),
        (TEXT + b',"usage":{"prompt_tokens":1}}\n\n', b""),
        (TEXT + b',"error":{"message":"x"}}\n\n', b""),
        (TEXT.replace(b"null", b'"stop"') + b"}\n\n", b""),
        (b'data: {"choices":[]}\n\n', b""),
        (b"data: [DONE]\n\n", b""),
        (b": ping\n\n", b""),
        (TEXT.replace(b"data: ", b"data:") + b"}\n\n", b""),
        (b"event: x\n" + TEXT + b"}\n\n", b""),
    ],
)
def test_ordinary_events_are_told_from_those_that_need_a_closer_look(whole: bytes, left: bytes) -> None:
    assert events.ordinary(whole, usage_wanted=False) == left


def test_null_for_usage_stays_for_those_who_asked() -> None:
    event = TEXT + b',"usage":null}\n\n'
    assert events.ordinary(event, usage_wanted=True) == event


@pytest.mark.parametrize(
    ("event", "malformed"),
    [
        (b'data: {"a":1}\n\n', False),
        (b'data: {"a":\n\n', True),
        (b'data: {"a":1}}\r\n\r\n', True),
        (b'data: {"a":\ndata: 1}\n\n', False),
        (b"event: mine\ndata: {not json}\n\n", False),
        (b"data: words\n\n", False),
        (b": comment {\n\n", False),
        (b'data: {"choices":"of another type"}\n\n', False),
        (b"event: mine\ndata: \xff\n\n", True),
    ],
)
def test_what_no_client_could_read(event: bytes, malformed: bool) -> None:
    assert events.malformed(event) is malformed
