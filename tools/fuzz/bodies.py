"""
Request bodies: JSON split into its fields, checked, and patched for the upstream.

Compared with `json.loads`: what is accepted means the same to it, a key that comes twice is refused and nothing else is
called that, and a patched body differs in what was to be changed alone.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import NamedTuple

from tools.fuzz import seams
from tools.fuzz.target import Check, Input, Target, demand, linear, seed, take_apart

_FLOOD_BYTES = 64 * 1024
_MOST_FIELDS = 1000
_DEEP = 100  # nesting that every reader must follow
_DIALECTS = list(seams.Dialect)


class _Number(NamedTuple):
    """A number as it is written, so that none is rounded."""

    text: str


class _Object(dict[str, object]):
    """An object; `twice` says whether it has had a key twice."""

    twice = False


def _pairs(pairs: list[tuple[str, object]]) -> _Object:
    found = _Object(pairs)
    found.twice = len(found) < len(pairs)
    return found


def _constant(name: str) -> object:
    raise ValueError(name)  # NaN and the infinities are no JSON


def _loads(body: bytes) -> object:
    """
    Read JSON as it stands.

    Raises:
        ValueError: it is none, or not in UTF-8.
        RecursionError: it is nested too deep for this reader.
    """
    return json.loads(
        body.decode(), object_pairs_hook=_pairs, parse_int=_Number, parse_float=_Number, parse_constant=_constant
    )


def _flood(given: Input) -> None:
    def work(size: int) -> None:
        body = given.flooded(size)
        for end in (b"", b"}", b'"}', b"]}"):
            try:
                seams.openai.parse(_DIALECTS[given.flags % 3], body + end)
            except seams.InvalidRequest:
                continue

    linear(work, _FLOOD_BYTES)


def check(data: bytes) -> None:
    """Run one input."""
    given = take_apart(data)
    if given.flood:
        return _flood(given)
    body = given.payload
    _fields(body)
    _call(_DIALECTS[given.flags % 3], body)
    return None


def _fields(body: bytes) -> None:
    try:
        found = seams.fields(body)
    except seams.InvalidRequest as error:
        _refused(body, error)
        return
    try:
        said = _loads(body)
    except RecursionError:
        return
    assert isinstance(said, _Object), f"what is accepted is an object: {body!r}"
    demand(not said.twice, "a key that comes twice is refused", body)
    demand(list(found) == list(said), "keys and their order stay", list(found), list(said))
    for name, value in found.items():
        demand(_loads(value) == said[name], "values stay", name, value)


def _refused(body: bytes, error: seams.InvalidRequest) -> None:
    """What is refused is wrong to the other reader too, in the same way where that is told apart."""
    try:
        said = _loads(body)
    except (ValueError, RecursionError):
        # What is no JSON may have been refused for a key before the reader came to its end, but is refused.
        return
    twice = isinstance(said, _Object) and said.twice
    demand((error.code == "duplicate_key") == twice or len(body) > _MOST_FIELDS, "duplicates are told", body, error)
    if isinstance(said, _Object) and not twice:
        odd = re.search(rb"\\[uU][dD]", body) or max(body.count(b"["), body.count(b"{")) > _DEEP
        demand(bool(odd) or len(said) > _MOST_FIELDS, "what is a JSON object is accepted", body, error)


def _call(dialect: seams.Dialect, body: bytes) -> None:
    try:
        call = seams.openai.parse(dialect, body)
    except seams.InvalidRequest as error:
        demand(bool(str(error)), "a refusal says why", body)
        return
    try:
        said = _loads(body)
    except RecursionError:
        return
    assert isinstance(said, _Object), f"what is accepted is an object: {body!r}"
    demand(call.model == said["model"], "the model is the body's", call.model, body)
    demand(call.stream == (said.get("stream") is True), "a stream is what asks for one", call.stream, body)
    demand(0 <= call.prompt_bytes <= len(body), "the prompt is part of the body", call.prompt_bytes, body)
    demand(call.choices >= 1, "there is at least one answer", call.choices, body)
    for model in (call.model, "another"):
        patched = seams.openai.for_upstream(call, model, None)
        expected = {**said, "model": model}
        if call.stream:
            options = said.get("stream_options")
            expected["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        demand(_loads(patched) == expected, "nothing but what is meant is changed", body, patched)


def _open(loop: asyncio.AbstractEventLoop) -> Check:  # noqa: ARG001  nothing here waits
    return check


def _seeds() -> list[bytes]:
    chat = b'{"model":"chat","messages":[{"role":"user","content":"h\xc3\xa9 \\u00e9 \\ud83d\\ude00"}]'
    bodies = [
        (chat + b"}", 0),
        (chat + b',"stream":true}', 0),
        (chat + b', "stream" : true, "stream_options" : {"include_usage":false, "x":[1e2, -0.0]}}\n', 0),
        (chat + b',"stream":true,"stream_options":{"include_usage":true}}', 0),
        (chat + b',"stream":true,"stream_options":null,"temperature":1e0,"n":2,"stop":["a"],"logit_bias":{"1":-1}}', 0),
        (chat + b',"model":"chat"}', 0),
        (chat + b',"metadata":{"model":"chat"},"n":1,"logit_bias":{"n":1}}', 0),
        ('{"modèl":1,"model":"chat","prompt":"\\"model\\":\\"chat\\""}'.encode(), 1),
        (chat + b',"mod\\u0065l":"x"}', 0),
        (b'{"a":1, "a":12}', 0),
        (b'{"model": "m", "prompt": ["x", [1, 2]], "max_tokens": 5}', 1),
        (b'{"model":"m","input":"x","dimensions":8}', 2),
        (b'{"a":{"a":1},"b":[{"a":1},"}"],"c":"\\"","d":12345678901234567890123,"e":1.5E+300}', 0),
        (b'\xef\xbb\xbf{"a":1}', 0),
        (b'{"a":NaN}', 0),
        (b"[" * 50 + b"]" * 50, 0),
    ]
    floods = [
        (chat + b',"a":[', 1),
        (b'{"a":"', 1),
        (b'{"a": "\\', 1),
        (b'{"a": 1, "b": 2', 8),
        (b'{"a":1 ', 1),
        (b'{ "a":{ "a":', 5),
    ]
    return [
        *(seed(body, dialect) for body, dialect in bodies),
        *(seed(body, 0xF8, (0,) * 6 + (tail,)) for body, tail in floods),
    ]


TARGET = Target(
    "bodies",
    "JSON of requests",
    _open,
    _seeds,
    (
        *b'"model"|"messages"|"role"|"content"|"stream":true|"stream_options":{|"include_usage"|"prompt"|"input"'.split(
            b"|"
        ),
        *b'"n":|"stop"|"max_tokens"|null|true|{"|":|"a":1|, |\\u0061|\\"|[|]|}|1e2|-0'.split(b"|"),
    ),
)
