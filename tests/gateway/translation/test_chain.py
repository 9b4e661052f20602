import json
from typing import Any

import pytest

from penstock.gateway.dialects import events, responses
from penstock.gateway.dialects.call import Call
from penstock.gateway.translation.chain import Chain
from penstock.gateway.translation.responses_to_chat import CLIENTS_NAMES, ResponsesToChat
from penstock.gateway.translation.translation import Translation
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest, UpstreamFailed, UpstreamUnusable
from penstock.types.usage import Usage, UsageSource
from tests.gateway.translation.chats import DONE, chunk, completion, response, told


class Shouting:
    """From chat completions to a dialect of our own: `{"say": TEXT}`, in upper case, and `STOP` for an end."""

    usage: Usage | None
    dropped: tuple[str, ...]

    def __init__(self, call: Call, model: str, cap_name: str, capped: bool) -> None:
        assert call.dialect is Dialect.CHAT
        self.usage = None
        self.dropped = tuple(name for name in ("verbosity", "seed", "max_tokens") if name in call.document.fields)
        self._asked = json.loads(call.document.body)
        self._model = model
        self._ended = False

    def request(self) -> bytes:
        if "response_format" in self._asked:
            raise InvalidRequest("no formats", param="response_format.type", code="unsupported_parameter")
        if "temperature" in self._asked:
            raise InvalidRequest("no heat", param="temperature", code="unsupported_parameter")
        return json.dumps({"to": self._model, "hear": self._asked["messages"][-1]["content"].upper()}).encode()

    def reply(self, body: bytes) -> bytes:
        self.usage = Usage(input_tokens=100, output_tokens=1, cache_write_tokens=60, source=UsageSource.UPSTREAM)
        return completion({"content": json.loads(body)["say"].lower()})

    def events(self, whole: bytes) -> bytes:
        out = b""
        for event in events.split(whole):
            data = events.data_of(event)
            if data == b"STOP":
                self._ended = True
                out += chunk({}, "stop") + DONE
            elif data == b"FAIL":
                self.usage = Usage(input_tokens=5, source=UsageSource.UPSTREAM)
                raise UpstreamFailed("it failed")
            elif data:
                out += chunk({"content": json.loads(data)["say"].lower()})
        return out

    def end(self) -> bytes:
        return b"" if self._ended else chunk({}, "stop")


class Chained(Chain):
    near = ResponsesToChat
    far = Shouting
    names = CLIENTS_NAMES


def chained(**fields: Any) -> Chain:
    kind: type[Translation] = Chained
    made = kind(
        responses.parse(json.dumps({"model": "m", "input": "hello"} | fields).encode()), "loud", "max_tokens", False
    )
    assert isinstance(made, Chain)
    return made


def test_a_request_goes_through_both() -> None:
    assert json.loads(chained().request()) == {"to": "loud", "hear": "HELLO"}


def test_a_reply_comes_back_through_both_and_its_usage_is_the_upstreams() -> None:
    made = chained()
    made.request()
    assert response(made.reply(b'{"say":"HI"}')).output_text == "hi"
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.cache_write_tokens) == (100, 60), "chats cannot tell all of it"


@pytest.mark.parametrize("ended", [True, False])
def test_a_stream_comes_back_through_both(ended: bool) -> None:
    made = chained(stream=True)
    made.request()
    given = [b": ping\n\n", b'data: {"say":"HE"}\n\n', b'data: {"say":"Y"}\n\n', b"data: STOP\n\n"]
    events = told(b"".join(map(made.events, given if ended else given[:-1])) + made.end())
    assert events[-1].response.output_text == "hey"


def test_what_either_leaves_out_is_named_once_and_as_the_client_knows_it() -> None:
    made = chained(prompt_cache_key="k", text={"verbosity": "low"}, seed=7, max_output_tokens=9)
    made.request()
    assert made.dropped == ("prompt_cache_key", "text", "seed", "max_output_tokens")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"text": {"format": {"type": "json_object"}}}, "text"),
        ({"temperature": 1}, "temperature"),
        ({"store": True}, "store"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_what_is_refused_has_the_clients_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        chained(**fields).request()
    assert caught.value.param == param


def test_failures_of_either_are_told_and_usage_is_kept() -> None:
    made = chained(stream=True)
    made.request()
    with pytest.raises(UpstreamFailed, match="it failed"):
        made.events(b"data: FAIL\n\n")
    assert made.usage == Usage(input_tokens=5, source=UsageSource.UPSTREAM)


def test_a_reply_that_cannot_be_told_is_unusable() -> None:
    class Empty(Shouting):
        def reply(self, body: bytes) -> bytes:
            return b'{"choices":[]}'

    class Broken(Chained):
        far = Empty

    made = Broken(responses.parse(b'{"model":"m","input":"hello"}'), "loud", "max_tokens", False)
    made.request()
    with pytest.raises(UpstreamUnusable):
        made.reply(b"{}")
