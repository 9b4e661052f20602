"""The lab upstream as a process, and under the official SDK."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the lab; yields the process and the line that it printed."""
    command = [sys.executable, "-m", "penstock.lab.upstream", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().strip()
        finally:
            if child.poll() is None:
                child.kill()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the base address of a lab with a key and a script."""
    script = tmp_path_factory.mktemp("lab") / "script.yaml"
    script.write_text(
        "- {prompt: too many, order: status=429; retry_after=3}\n- {model: slow, order: stall=before_head}"
    )
    with process("--json", "--api-key", "sk-lab", "--script", str(script)) as (child, line):
        told = json.loads(line)
        assert told["pid"] == child.pid
        yield told["url"]


def test_it_says_where_it_listens_and_ends_with_a_signal() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with process() as (child, line):
            prefix, _, url = line.rpartition(" ")
            assert prefix == "lab upstream listens on"
            with httpx.stream(
                "POST", f"{url}/v1/completions", json={"model": "m", "stream": True}, headers={"x-lab": "stall_after=1"}
            ):
                child.send_signal(number)
                _, errors = child.communicate(timeout=20)
                assert (child.returncode, errors) == (0, "")


def test_it_listens_on_a_unix_socket_and_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "lab.sock"
    with process("--listen", f"unix:{path}") as (child, line):
        assert line == f"lab upstream listens on unix:{path}"
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://lab/health").json() == {"status": "ok"}
        child.terminate()
        child.wait(20)
    assert not path.exists()


def test_what_keeps_it_from_starting_is_one_sentence(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("- {order: dely=1s}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, sentence in (
            (["--listen", f"127.0.0.1:{port}"], f"cannot listen on 127.0.0.1:{port}: Address already in use"),
            (["--listen", "nowhere"], "`nowhere` is not an address such as 127.0.0.1:9000 or unix:/path"),
            (["--script", str(script)], f"the script {script}: rule 1: unknown order `dely`, did you mean `delay`?"),
            (["--idle", "5"], "`5` is not a duration such as `200ms`, `1.5s` or `2m`"),
        ):
            with process(*arguments) as (child, line):
                _, errors = child.communicate(timeout=20)
                assert (child.returncode, line) == (1, "")
                assert errors == f"penstock lab upstream: {sentence}\n"


def test_the_official_sdk_is_content(lab: str) -> None:
    messages: Any = [{"role": "user", "content": "one two"}]
    with openai.OpenAI(base_url=f"{lab}/v1", api_key="sk-lab", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["lab", "lab-embed"]
        assert client.models.retrieve("lab").object == "model"
        answer = client.chat.completions.create(model="lab", messages=messages)
        assert answer.choices[0].message.content == "echo: one two"
        assert answer.usage is not None
        assert answer.usage.total_tokens == 5
        with client.chat.completions.create(
            model="lab", messages=messages, stream=True, stream_options={"include_usage": True}
        ) as stream:
            chunks = list(stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "echo: one two"
        assert chunks[-1].usage is not None
        assert client.completions.create(model="lab", prompt="x").choices[0].text == "echo: x"
        vectors = client.embeddings.create(model="lab-embed", input=["a", "b"]).data
        assert [len(vector.embedding) for vector in vectors] == [8, 8]


def test_the_official_sdk_sees_what_was_ordered(lab: str) -> None:
    with openai.OpenAI(base_url=f"{lab}/v1", api_key="sk-lab", max_retries=0) as client:

        def ask(content: str, **options: Any) -> Any:
            messages: Any = [{"role": "user", "content": content}]
            return client.chat.completions.create(model=options.pop("model", "lab"), messages=messages, **options)

        with pytest.raises(openai.RateLimitError) as limited:
            ask("too many of us")
        assert limited.value.response.headers["retry-after"] == "3"
        with pytest.raises(openai.APITimeoutError):
            ask("x", model="slow", timeout=0.05)
        with pytest.raises(openai.InternalServerError):
            ask("x", extra_headers={"x-lab": "status=500"})
        with pytest.raises(openai.APIConnectionError):
            ask("x", extra_headers={"x-lab": "cut=in_head"})
        with (
            ask("a b c", stream=True, extra_headers={"x-lab": "error_after=2"}) as stream,
            pytest.raises(openai.APIError),
        ):
            list(stream)
    with (
        openai.OpenAI(base_url=f"{lab}/v1", api_key="sk-wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()
