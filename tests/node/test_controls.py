"""Turning to controls, of which some do not answer; each is a real server on loopback."""

from __future__ import annotations

import asyncio
import socket

import msgspec
import pytest

from penstock.http.pool import Reply
from penstock.node.controls import Away, Controls, Rejected
from penstock.types.address import Address
from tests.http.origin import Origin, Peer, Request, answering, reply, run, turns, until

KEY = "sk-psadmin-abc-def"


def closed_ports() -> tuple[Address, Address]:
    """Two places where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        first, second = (Address(host="127.0.0.1", port=each.getsockname()[1]) for each in (one, other))
    return first, second


def name_of(origin: Origin) -> str:
    return f"127.0.0.1:{origin.port}"


def error(sentence: str, status: bytes) -> bytes:
    return reply(msgspec.json.encode({"error": {"message": sentence, "code": None}}), status=status)


class Time:
    """What a loop takes for the time, and may be told to be later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop.time
        self._passed = 0.0

    def __call__(self) -> float:
        return self._real() + self._passed

    def pass_(self, seconds: float) -> None:
        self._passed += seconds


def time_of(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> Time:
    """Return the time of a loop of asyncio's own, to be moved on."""
    time = Time(loop)
    monkeypatch.setattr(loop, "time", time)
    return time


def test_a_question_carries_the_key_and_its_answer_comes_back() -> None:
    seen: list[Request] = []

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            seen.append(request)
            await peer.send(reply(b"\x00answer %d" % len(seen)))

    async def case() -> None:
        async with Origin(script) as control:
            controls = Controls([control.address], KEY)
            assert await controls.ask(b"GET", "/admin/v1/snapshot?check=ab") == b"\x00answer 1"
            assert await controls.ask(b"POST", "/admin/v1/hosts/x/report", b"\xff\x00") == b"\x00answer 2"
            assert controls.name == name_of(control)
            await controls.aclose()
        assert [request.line for request in seen] == [
            b"GET /admin/v1/snapshot?check=ab HTTP/1.1", b"POST /admin/v1/hosts/x/report HTTP/1.1",
        ]  # fmt: skip
        assert [request.header(b"authorization") for request in seen] == [[b"Bearer " + KEY.encode()]] * 2
        assert [request.header(b"content-type") for request in seen] == [[], [b"application/msgpack"]]
        assert seen[1].body == b"\xff\x00"

    run(case())


def test_the_next_is_turned_to_when_one_does_not_answer_and_stays() -> None:
    async def case() -> None:
        async with Origin(answering(reply(b"second"))) as second:
            controls = Controls([closed_ports()[0], second.address], KEY)
            with pytest.raises(Away, match="refuses connections"):
                await controls.ask(b"GET", "/")
            for _ in range(3):
                assert controls.name == name_of(second)
                assert await controls.ask(b"GET", "/") == b"second"
            await controls.aclose()

    run(case())


def test_after_the_last_the_first_is_turned_to() -> None:
    async def case() -> None:
        controls = Controls(closed_ports(), KEY)
        first = controls.name
        with pytest.raises(Away):
            await controls.ask(b"GET", "/")
        assert controls.name != first
        with pytest.raises(Away):
            await controls.ask(b"GET", "/")
        assert controls.name == first
        await controls.aclose()

    run(case())


def test_one_that_fails_late_does_not_turn_away_from_who_answers_since() -> None:
    late = asyncio.Event()

    async def first_script(peer: Peer) -> None:
        request = await peer.request()
        if request is not None and b"/slow" in request.line:
            await late.wait()

    async def case() -> None:
        async with Origin(first_script) as first, Origin(answering(reply(b"third"))) as third:
            controls = Controls([first.address, closed_ports()[0], third.address], KEY)
            slow = asyncio.create_task(controls.ask(b"POST", "/slow"))
            await until(lambda: first.connections == 1)
            for _ in range(2):
                with pytest.raises(Away):
                    await controls.ask(b"POST", "/")
            assert controls.name == name_of(third)
            late.set()
            with pytest.raises(Away):
                await slow
            assert controls.name == name_of(third)
            assert await controls.ask(b"GET", "/") == b"third"
            await controls.aclose()

    run(case())


@pytest.mark.parametrize("status", [b"500 Error", b"503 Unavailable", b"302 Found", b"429 Later", b"421 Misdirected"])
def test_an_answer_that_may_change_is_away_and_the_next_is_turned_to(status: bytes) -> None:
    async def case() -> None:
        async with Origin(answering(error("the database is away", status))) as first, Origin(answering()) as second:
            controls = Controls([first.address, second.address], KEY)
            with pytest.raises(Away) as raised:
                await controls.ask(b"GET", "/")
            assert str(raised.value) == (
                f"control at {name_of(first)} answers with status {status[:3].decode()}: the database is away"
            )
            assert controls.name == name_of(second)
            await controls.aclose()

    run(case())


@pytest.mark.parametrize("status", [b"400 Bad", b"401 Who", b"403 No", b"404 None", b"409 Conflict"])
def test_a_no_is_told_with_its_reason_and_the_next_is_turned_to(status: bytes) -> None:
    async def case() -> None:
        async with Origin(answering(error("the role of this key is viewer", status))) as first:
            other = closed_ports()[0]
            controls = Controls([first.address, other], KEY)
            with pytest.raises(Rejected, match=rf"status {status[:3].decode()}: the role of this key is viewer$"):
                await controls.ask(b"GET", "/")
            assert controls.name == f"127.0.0.1:{other.port}", "perhaps it is another one's port"
            await controls.aclose()

    run(case())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>not ours", "<html>not ours"),
        (b"x" * 5_000, "x" * 200),
        (b'{"error": {"message": 7}}', '{"error": {"message": 7}}'),
        (b'{"detail": "other"}', ""),
        (b"\xff", "�"),
    ],
)
def test_whatever_answers_is_quoted_shortly(body: bytes, said: str) -> None:
    async def case() -> None:
        async with Origin(answering(reply(body, status=b"404 None"))) as stranger:
            controls = Controls([stranger.address], KEY)
            with pytest.raises(Rejected) as raised:
                await controls.ask(b"GET", "/")
            assert str(raised.value).partition("status 404: ")[2] == said
            await controls.aclose()

    run(case())


def test_one_that_answers_too_late_or_only_in_part_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.node.controls._CONNECT_S", 0.05)

    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async def torn(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")

    async def case() -> None:
        async with Origin(silent) as first, Origin(torn) as second:
            controls = Controls([first.address, second.address], KEY)
            with pytest.raises(Away, match=name_of(first)):
                await controls.ask(b"GET", "/", answer_s=0.05)
            with pytest.raises(Away, match=name_of(second)):
                await controls.ask(b"GET", "/")
            assert controls.name == name_of(first)
            await controls.aclose()

    run(case())


def test_a_body_may_take_long_as_long_as_some_of_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [b"%d " % number * 10_000 for number in range(8)]
    read: list[bytes] = []
    chunk = Reply.chunk

    async def noting(self: Reply) -> bytes:
        read.append(await chunk(self))
        return read[-1]

    async def case() -> None:
        time = time_of(asyncio.get_running_loop(), monkeypatch)

        async def slow(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % sum(map(len, parts)))
            for number, part in enumerate(parts):
                await until_read(sum(map(len, parts[:number])))
                time.pass_(6.0)  # 48 s in all
                await peer.send(part)
            await peer.gone()

        async def until_read(size: int) -> None:
            while sum(map(len, read)) < size:  # noqa: ASYNC110  # what the client has read has no event
                await asyncio.sleep(0)

        async with Origin(slow) as control:
            controls = Controls([control.address], KEY)
            assert await controls.ask(b"GET", "/", answer_s=5.0) == b"".join(parts)
            await controls.aclose()

    monkeypatch.setattr(Reply, "chunk", noting)
    run(case(), uv=False)


def test_a_body_of_which_nothing_comes_any_more_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = asyncio.Event()
    chunk = Reply.chunk

    async def noting(self: Reply) -> bytes:
        reading.set()
        return await chunk(self)

    async def case() -> None:
        time = time_of(asyncio.get_running_loop(), monkeypatch)

        async def stalling(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
            await reading.wait()
            await turns()
            time.pass_(11.0)
            await peer.gone()

        async with Origin(stalling) as first:
            controls = Controls([first.address, closed_ports()[0]], KEY)
            with pytest.raises(Away, match=f"Control at {name_of(first)} has not answered in time"):
                await controls.ask(b"GET", "/", answer_s=5.0)
            assert controls.name != name_of(first)
            await controls.aclose()

    monkeypatch.setattr(Reply, "chunk", noting)
    run(case(), uv=False)


def test_an_answer_that_is_too_large_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.node.controls._MAX_ANSWER", 10)

    async def case() -> None:
        async with Origin(answering(reply(b"x" * 10), reply(b"x" * 11))) as first:
            controls = Controls([first.address], KEY)
            assert await controls.ask(b"GET", "/") == b"x" * 10
            with pytest.raises(Away, match="the answer of control is over 10 bytes"):
                await controls.ask(b"GET", "/")
            await controls.aclose()

    run(case())


def test_all_say_no_once_each_has_since_one_answered() -> None:
    no, yes = error("no", b"409 Conflict"), reply(b"yes")

    async def case() -> None:
        async with (
            Origin(answering(no)) as first,
            Origin(answering(no, yes, error("later", b"503 Unavailable"), no)) as second,
        ):
            controls = Controls([first.address, second.address], KEY)
            said = []
            for _ in range(8):
                try:
                    await controls.ask(b"GET", "/")
                    said.append("yes")
                except (Rejected, Away) as answer:
                    said.append(type(answer).__name__)
                said.append("all" if controls.all_say_no else "")
            assert said == [
                *("Rejected", ""), *("Rejected", "all"),  # the first, the second
                *("Rejected", "all"), *("yes", ""),
                *("Away", ""), *("Rejected", ""),  # the second stays until it fails
                *("Rejected", "all"), *("Rejected", "all"),
            ]  # fmt: skip
            await controls.aclose()

    run(case())


@pytest.mark.parametrize("other", ["away", "leads"])
def test_one_that_says_no_is_not_all_of_them(other: str) -> None:
    async def case() -> None:
        async with Origin(answering(error("no", b"403 No"))) as first, Origin(answering(reply(b"yes"))) as second:
            controls = Controls([first.address, second.address if other == "leads" else closed_ports()[0]], KEY)
            assert not controls.all_say_no
            with pytest.raises(Rejected):
                await controls.ask(b"GET", "/")
            assert not controls.all_say_no
            if other == "leads":
                assert [await controls.ask(b"GET", "/") for _ in range(3)] == [b"yes"] * 3
                assert first.connections == 1, "who says no is not asked while the other answers"
            else:
                with pytest.raises(Away):
                    await controls.ask(b"GET", "/")
            assert not controls.all_say_no
            await controls.aclose()

    run(case())
