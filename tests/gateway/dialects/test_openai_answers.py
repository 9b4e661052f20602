import pytest

from penstock.gateway.dialects import openai_answers as answers


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
    chunk = answers.note(b"data: " + data + b"\n\n")
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
    assert answers.without_usage(event) == left


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("at", [b'"delta":', b"}}]}", b"[{"])
def test_a_line_end_between_the_tokens_of_a_chunk_makes_it_malformed(end: bytes, at: bytes) -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}'
    before, _, after = chunk.partition(at)
    for event in (before + at[:-1] + end + at[-1:] + after + end * 2, before + at + end + after + b"x" + end * 2):
        assert answers.ordinary(event, True) == b""
    assert answers.malformed(before + at[:-1] + end + at[-1:] + after + end * 2)
    assert answers.ordinary(chunk + b"\n\n", True)
    assert answers.ordinary(chunk + b"\r\n\r\n", True)


def test_usage_is_taken_out_of_data_in_several_lines_without_breaking_them() -> None:
    event = b'data: {"a":[1,\ndata: 2],"choices":[{"text":"x"}],\ndata: "usage" : {"prompt_tokens":1}}\n\n'
    assert answers.without_usage(event) == b'data: {"a":[1, 2],"choices":[{"text":"x"}]}\n\n'


def test_fields_whose_names_begin_like_data_stay_with_their_event() -> None:
    event = b'database: 1\ndata: {"choices":[{"text":"x"}],"usage" : {"prompt_tokens":1}}\ndata2\n\n'
    assert answers.without_usage(event) == b'database: 1\ndata2\ndata: {"choices":[{"text":"x"}]}\n\n'


def test_names_that_are_not_utf_8_do_no_harm() -> None:
    event = b'data: {"\xff":1,"choices":[{"text":"x"}],"usage" : {"prompt_tokens":1}}\n\n'
    assert answers.without_usage(event) == event
    assert answers.malformed(event), "a relay does not send it"


def test_white_space_before_a_chunk_hides_nothing() -> None:
    event = b'data:  {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    assert answers.note(event) is not None
    assert answers.without_usage(event) == b""
    assert answers.malformed(b"data:  {\n\n")


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
    assert answers.is_end(event) is done


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
    assert answers.ordinary(whole, usage_wanted=False) == left


def test_null_for_usage_stays_for_those_who_asked() -> None:
    event = TEXT + b',"usage":null}\n\n'
    assert answers.ordinary(event, usage_wanted=True) == event
