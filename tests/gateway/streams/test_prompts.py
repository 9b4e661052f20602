"""Prompts of any size up to the limit, and what one over it gets."""

import pytest

from tests.gateway.streams.client import Client, body
from tests.gateway.streams.conftest import Configured
from tests.processes import Front, Lab

MB = 1_000_000
WORD = "slovo ž "


@pytest.mark.parametrize("stream", [True, False])
def test_a_prompt_of_twenty_megabytes(front: Front, lab: Lab, client: Client, stream: bool) -> None:
    prompt = WORD * (20 * MB // len(WORD))
    received = lab.stats()["bytes_received"]
    answer = client.ask(prompt, stream=stream)
    text = answer.text if stream else answer.json["choices"][0]["message"]["content"]
    assert text == f"echo: {prompt[:4096]}"
    assert lab.stats()["bytes_received"] - received > 20 * MB
    record = front.settled(answer.request_id)
    assert (record.outcome, record.usage.source) == ("answered", "upstream")
    assert client.ask("again").done


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_one_over_the_limit(configured: Configured, stream: bool, chunked: bool) -> None:
    with configured(max_body=1 * MB) as (front, lab), Client(front) as client:
        seen = lab.stats()["requests"]
        content = body("x" * 2 * MB, stream=stream)
        if chunked:
            head = client.head(0).replace(b"content-length: 0", b"transfer-encoding: chunked")
            client.send_what_fits(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))
        else:
            client.send_what_fits(client.head(len(content)) + content)
        answer = client.receive()
        assert (answer.status, answer.whole) == (413, True)
        assert answer.headers["x-penstock-error-source"] == "client"
        assert set(answer.error) == {"message", "type", "param", "code"}
        assert (answer.error["type"], answer.error["code"]) == ("invalid_request_error", "request_too_large")
        assert lab.stats()["requests"] == seen
    with configured(max_body=1 * MB) as (front, _), Client(front) as client:
        assert client.ask("x" * (MB - 1000), stream=stream).status == 200
