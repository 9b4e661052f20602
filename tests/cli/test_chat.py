"""`penstock chat`, piped, with -m, and in a real terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.chat import AnswerFailed, events
from penstock.types.home import Home
from tests.cli.conftest import Answer, Call, Fake, Remote, Run

PATH = "POST /v1/chat/completions"


def chunk(content: str | None, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "choices": [choice], "usage": None}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def answering(*pieces: str) -> Answer:
    return Answer(pieces=[b": hello\n\n", *(chunk(piece) for piece in pieces), chunk(None, "stop"), DONE])


@pytest.fixture
def talking(gateway: Fake) -> Fake:
    gateway.routes["GET /v1/models"] = Answer({"data": [{"id": "chat", "owned_by": "penstock"}, {"id": "other"}]})
    gateway.routes[PATH] = answering("7", "2")
    return gateway


def test_one_message(talking: Fake, run: Run) -> None:
    result = run("chat", "-m", "What is 27 + 45?")
    assert (result.exit_code, result.stdout) == (0, "72\n")
    asked = talking.calls[-1].json()
    assert asked == {"model": "chat", "messages": [{"role": "user", "content": "What is 27 + 45?"}], "stream": True}


def test_everything_given(talking: Fake, run: Run) -> None:
    result = run("chat", "other", "-m", "Hi", "--system", "Be brief", "--max-tokens", "5", "--temperature", "0")
    assert result.exit_code == 0
    asked = talking.calls[-1].json()
    assert asked["model"] == "other"
    assert asked["messages"][0] == {"role": "system", "content": "Be brief"}
    assert (asked["max_tokens"], asked["temperature"]) == (5, 0)
    assert [call.path for call in talking.calls] == ["/v1/chat/completions"]


def test_piped_text_is_one_message(talking: Fake, run: Run) -> None:
    assert run("chat", input="line one\nline two\n").stdout == "72\n"
    assert talking.calls[-1].json()["messages"][0]["content"] == "line one\nline two\n"


def test_nothing_to_ask(talking: Fake, run: Run) -> None:
    result = run("chat", input=" \n")
    assert result.exit_code == 2
    assert "nothing to ask" in result.stderr


@pytest.mark.parametrize("wrong", [["--max-tokens", "0"], ["--max-tokens", "x"], ["--temperature", "-1"]])
def test_wrong_numbers_are_usage_errors(talking: Fake, run: Run, wrong: list[str]) -> None:
    assert run("chat", "-m", "Hi", *wrong).exit_code == 2
    assert not talking.calls


def test_no_model_is_served(gateway: Fake, run: Run) -> None:
    gateway.routes["GET /v1/models"] = Answer({"data": []})
    result = run("chat", "-m", "Hi")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: no model is served; see `penstock status`\n"


def test_escape_sequences_of_a_model_are_shown(talking: Fake, run: Run) -> None:
    talking.routes[PATH] = answering("\x1b[2J", "[bold]x[/bold]")
    assert run("chat", "-m", "Hi").stdout == "\\x1b[2J[bold]x[/bold]\n"


def test_the_token_limit_is_noted(talking: Fake, run: Run) -> None:
    talking.routes[PATH] = Answer(pieces=[chunk("7"), chunk(None, "length"), DONE])
    result = run("chat", "-m", "Hi")
    assert (result.stdout, result.stderr) == ("7\n", "(cut off at the token limit)\n")


@pytest.mark.parametrize(
    ("pieces", "sentence"),
    [
        ([chunk("7"), b'data: {"error": {"message": "the engine died"}}\n\n'], "the engine died"),
        ([chunk("7")], "the answer was cut off before its end"),
        ([chunk("7"), b"data: {nonsense\n\n", DONE], "the answer holds an event that cannot be read"),
        ([chunk("7"), b'data: {"choices": 3}\n\n', DONE], "the answer holds an event that cannot be read"),
    ],
)
def test_a_stream_that_fails(talking: Fake, run: Run, pieces: list[bytes], sentence: str) -> None:
    talking.routes[PATH] = Answer(pieces=pieces)
    result = run("chat", "-m", "Hi")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "7\n", f"Error: {sentence}\n")


def test_an_error_answer(talking: Fake, run: Run) -> None:
    talking.routes[PATH] = Answer({"error": {"message": "The model `x` does not exist"}}, status=404)
    result = run("chat", "x", "-m", "Hi")
    assert (result.exit_code, result.stderr) == (1, "Error: The model `x` does not exist\n")


def test_another_machine(remote: Remote, run: Run) -> None:
    remote.fake.routes[PATH] = answering("hello")
    assert run("chat", "m", "-m", "Hi", "--url", f"{remote.url}/v1", "--key", "sk-1").stdout == "hello\n"
    assert remote.fake.calls[0].headers["Authorization"] == "Bearer sk-1"


def test_wrong_address(run: Run) -> None:
    result = run("chat", "-m", "Hi", "--url", "example")
    assert result.exit_code == 2
    assert "an address looks like" in result.stderr


@given(st.lists(st.binary(max_size=20).filter(lambda b: not {10, 13} & set(b)), max_size=5))
def test_events_give_back_what_was_sent(sent: list[bytes]) -> None:
    lines = [part for data in sent for part in (b": note\n", b"event: x\n", b"data: " + data + b"\r\n", b"\n")]
    assert list(events(lines)) == sent


def test_an_event_of_several_lines_is_joined() -> None:
    assert list(events([b"data: a\n", b"data:b\n", b"\n", b"data: unfinished\n"])) == [b"a\nb"]


def test_an_endless_event_is_refused() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"data: " + b"x" * 100_000 + b"\n"

    with pytest.raises(AnswerFailed, match="too long"):
        next(events(endless()))


class Terminal:
    """`penstock chat` on a pseudo-terminal."""

    def __init__(self, home: Home, *arguments: str) -> None:
        self._main, child = pty.openpty()
        environment = {**os.environ, "PENSTOCK_HOME": str(home.root), "TERM": "dumb"}
        program = str(Path(sys.executable).with_name("penstock"))
        self.process = subprocess.Popen(
            [program, "chat", *arguments],
            stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True, close_fds=True,
        )  # fmt: skip
        os.close(child)
        self.shown = ""

    def until(self, text: str, count: int = 1) -> None:
        """Read until the text has been shown this often in all."""
        deadline = time.monotonic() + 30
        while self.shown.count(text) < count:
            ready, _, _ = select.select([self._main], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{text!r} did not come; shown: {self.shown!r}"
            try:
                data = os.read(self._main, 4096)
            except OSError:
                data = b""
            assert data, f"ended before {text!r}; shown: {self.shown!r}"
            self.shown += data.decode()

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def close(self) -> int:
        try:
            return self.process.wait(30)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            os.close(self._main)


def test_a_talk_in_a_terminal(home: Home, talking: Fake) -> None:
    def endless() -> Iterator[bytes]:
        yield chunk("begun")
        while True:
            yield b": waiting\n\n"
            time.sleep(0.01)

    def answer(call: Call) -> Answer:
        match call.json()["messages"][-1]["content"]:
            case "long":
                return Answer(pieces=endless())
            case "bad":
                return Answer({"error": {"message": "too busy"}}, status=503)
        return answering("72")

    talking.routes[PATH] = answer
    terminal = Terminal(home)
    try:
        terminal.until("> ")
        terminal.type("sum\n")
        terminal.until("72\r\n")
        terminal.until("> ", 2)
        terminal.type("bad\n")
        terminal.until("Error: too busy")
        terminal.until("> ", 3)
        terminal.type("long\n")
        terminal.until("begun")
        os.killpg(terminal.process.pid, signal.SIGINT)  # what the terminal sends for Ctrl-C
        terminal.until("(stopped)")
        assert talking.hung_up.wait(30)
        terminal.until("> ", 4)
        terminal.type("again\n")
        terminal.until("72\r\n", 2)
        terminal.until("> ", 5)
        terminal.type("\x04")
    finally:
        code = terminal.close()
    assert code == 0
    said = talking.calls[-1].json()["messages"]
    assert [message["content"] for message in said] == ["sum", "72", "long", "begun", "again"]
