"""The fuzzers' checks, run on their own seeds, so that they cannot rot between runs of `make fuzz`."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.fuzz import reading, streams
from tools.fuzz.__main__ import main
from tools.fuzz.target import Finding, cut, demand, linear, seed, take_apart
from tools.fuzz.targets import TARGETS
from tools.fuzz.wire import held

ROOT = Path(__file__).parents[2]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_of_a_target_show_nothing_wrong(name: str, loop: asyncio.AbstractEventLoop) -> None:
    check = TARGETS[name].open(loop)
    for each in TARGETS[name].seeds():
        check(each)


@pytest.mark.parametrize("name", TARGETS)
def test_random_bytes_show_nothing_wrong(name: str, loop: asyncio.AbstractEventLoop) -> None:
    chance = random.Random(name)
    target = TARGETS[name]
    check = target.open(loop)
    for _ in range(100):
        payload = b"".join(chance.choices([*target.words, chance.randbytes(3)], k=chance.randint(0, 12)))
        check(seed(payload, chance.randrange(8), tuple(chance.randrange(9) for _ in range(7))))


def test_an_input_is_cut_as_its_knobs_say() -> None:
    given = take_apart(seed(b"abcdefgh", 5, (2, 1, 0, 0, 0, 0, 3)))
    assert (given.flags, given.flood, list(given.pieces())) == (5, False, [b"ab", b"c", b"defgh"])
    assert given.flooded(14) == b"abcdefghfghfgh"
    assert list(cut(b"abcdef", b"\0", largest=4)) == [b"abcd", b"ef"]
    assert take_apart(b"").payload == b""


def test_work_that_grows_faster_than_its_input_is_found() -> None:
    linear(bytearray, 1 << 16)
    with pytest.raises(Finding, match="work grows"):
        linear(lambda size: sum(len(range(size)) > each for _ in range(size) for each in range(size)), 250)


def test_a_broken_promise_is_a_finding() -> None:
    with pytest.raises(Finding, match=r"holds: 1; b'x'"):
        demand(False, "holds", 1, b"x")


def test_what_an_object_holds_is_counted_through_its_parts() -> None:
    class Holder:
        __slots__ = ("far", "near")

        def __init__(self) -> None:
            self.near = {"k": [bytearray(1000), "é" * 10]}
            self.far = b"x" * 5000

    holder = Holder()
    assert 1010 <= held(holder, holder.far) < 1100
    assert held(holder) >= 6010


def test_the_second_reading_of_requests() -> None:
    post = b"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
    found, refused = reading.requests(post + b"\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + post)
    assert [(each.method, each.target, each.body, each.keep_alive) for each in found] == [
        ("POST", "/a?b", b"ab", True),
        ("GET", "/", b"", False),
    ]
    assert not refused
    assert reading.requests(b"GET / HTTP/1.1\r\n\r\n") == ([], True)


def test_the_second_reading_of_replies() -> None:
    assert reading.reply(b"HTTP/1.1 200 OK\r\n\r\nab", True, "GET") == reading.Reply(200, {}, b"ab", False)
    assert reading.reply(b"HTTP/1.1 200 OK\r\n\r\nab", False, "GET") == "waiting"
    assert reading.reply(b"HTTP/2", True, "GET") == "refused"


def test_the_standards_events() -> None:
    assert streams.dispatched(b": c\r\ndata: 1\rdata:2\n\r\ndata\n\ndata: 3\n\ndata: 4") == [b"1\n2", b"3"]


def test_a_saved_input_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, unknown = tmp_path / "streams-crash-1", tmp_path / "crash-1"
    good.write_bytes(seed(b"data: 1\n\n"))
    unknown.write_bytes(b"")
    monkeypatch.setattr(sys, "argv", ["fuzz", "--replay", str(good)])
    assert main() == 0
    assert "nothing is wrong" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["fuzz", "--replay", str(unknown)])
    assert main() == 2
    monkeypatch.setattr("tools.fuzz.seams.events.data_of", bytes.upper)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--replay", str(good)])
    assert main() == 1


def test_a_short_run_without_atheris(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools.fuzz", "--plain", "--minutes", "0.02", "--only", "chunked"]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nothing found" in ended.stdout
