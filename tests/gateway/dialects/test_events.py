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


def test_half_a_character_as_an_escape_is_not_malformed() -> None:
    """Clients in JavaScript and Python read it; upstreams in JavaScript write it when they cut inside an emoji."""
    assert not events.malformed(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n')
    assert events.malformed(b'data: {"choices":[{"delta":{"content":"\\ud83"}}]}\n\n')
    assert events.malformed(b'data: {"choices":[{"delta":{"content":"\x01"}}]}\n\n')


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


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_other_data_leaves_the_other_lines(end: bytes) -> None:
    event = end.join([b"event: x", b'data: {"a":', b"data: 1}", b"id: 7", b"", b""])
    assert events.with_data(event, b'{"b":\n2}') == b'event: x\nid: 7\ndata: {"b": 2}\n\n'
