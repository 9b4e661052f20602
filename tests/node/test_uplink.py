"""The link of a host, against a real admin application on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.auth import pepper
from penstock.auth.roles import Role
from penstock.control.admin.access import Credentials, Door
from penstock.control.keys import Scope
from penstock.control.serve import serve
from penstock.journal import host
from penstock.journal.records import Record
from penstock.journal.segment import Writer
from penstock.node import uplink as module
from penstock.node.controls import Controls
from penstock.node.settings import Join
from penstock.node.uplink import Uplink
from penstock.records.keys import ALL_TENANTS, Key
from penstock.snapshot import file
from penstock.snapshot.config import Config
from penstock.snapshot.file import Reader, publish, written
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals
from penstock.types.address import Address
from penstock.types.errors import StartError
from penstock.types.home import Home
from tests.control.admin.api import HOSTS, SECRET, Api, with_api
from tests.http.origin import Origin, Peer, answering, reply
from tests.node.conftest import until
from tests.records.exchanges import opened, settled


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REJECTED_S", 0.02)
    monkeypatch.setattr(module, "_RETRY_S", (0.02,))
    monkeypatch.setattr(module, "_INTERVAL_S", 0.02)
    monkeypatch.setattr(module, "_ALIVE_S", 0.05)


class Place:
    """
    A host that joins, and the control that it joins.

    Attributes:
        key: of the host; a real one that may be revoked.
    """

    def __init__(self, home: Home, api: Api, listener: socket.socket, key: tuple[Key, str]) -> None:
        self.home = home
        self.api = api
        self.listener = listener
        self.key, self._text = key
        self.environ: dict[str, str] = {}

    @property
    def address(self) -> Address:
        return Address(host="127.0.0.1", port=self.listener.getsockname()[1])

    def uplink(self, *before: Address, key: str | None = None) -> Uplink:
        return Uplink(self.home, Join((*before, self.address), key or self._text), 1, self.environ)

    @contextlib.asynccontextmanager
    async def control(self) -> AsyncIterator[None]:
        """Control serves for the length of the block."""
        door = Door(self.api.app, Credentials(self.api.keys, None), HOSTS)
        async with serve([(door, self.listener.dup())]):
            try:
                yield
            finally:
                self.api.bulletin.close()  # as control does, so that nobody is kept waiting

    @contextlib.asynccontextmanager
    async def linked(self, uplink: Uplink) -> AsyncIterator[asyncio.Task[None]]:
        """The link runs, as the node has it."""
        task = asyncio.create_task(uplink.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait({task})
            await uplink.close()

    def write(self, *records: Record) -> Writer:
        writer = Writer(self.home.journal, host.writer_name(host.load(self.home.root), "gateway-0"))
        for record in records:
            writer.append(record)
        return writer

    async def settled(self, *numbers: int) -> None:
        """Wait until these exchanges are in the ledger."""
        async with asyncio.timeout(20):
            while not {settled(number).id for number in numbers} <= (await self.ledger()).keys():  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.01)

    async def ledger(self) -> dict[str, str]:
        return {row["id"]: row["outcome"] for row in (await self.api.get("/admin/v1/requests"))["requests"]}


def joining(tmp_path: Path, home: Home, case: Callable[[Place], Awaitable[None]]) -> None:
    async def whole(api: Api) -> None:
        (home.root / pepper.FILE_NAME).touch(0o600)
        (home.root / pepper.FILE_NAME).write_bytes(SECRET)
        home.journal.mkdir()
        key = await api.keys.create("eu-1", Scope(ALL_TENANTS, role=Role.GATEWAY))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await case(Place(home, api, listener, key))

    (tmp_path / "control").mkdir()
    with_api(tmp_path / "control", whole)


def the_same(here: Home, there: Home) -> bool:
    with contextlib.suppress(OSError):
        return all(
            written(here.snapshot, document) == written(there.snapshot, document) for document in (Config, Principals)
        )
    return False


async def end_of(task: asyncio.Task[None]) -> StartError:
    await asyncio.wait({task}, timeout=20)
    assert task.done()
    error = task.exception()
    assert isinstance(error, ExceptionGroup)
    first = error.exceptions[0]
    assert isinstance(first, StartError)
    return first


def test_what_control_publishes_is_published_here_now_and_whenever_it_changes(tmp_path: Path, home: Home) -> None:
    async def case(place: Place) -> None:
        uplink = place.uplink()
        assert not uplink.connection.reachable
        async with place.control(), place.linked(uplink):
            await until(lambda: the_same(home, place.api.home))
            made, _ = await place.api.keys.create("later", Scope("acme"))
            await until(lambda: the_same(home, place.api.home))
            principals = Reader(home.snapshot, Principals).changed()
            assert principals is not None
            assert made.id in principals.keys
            await until(lambda: uplink.connection.reachable)
            assert uplink.connection.control == f"127.0.0.1:{place.address.port}"
            assert uplink.connection.detail == ""

    joining(tmp_path, home, case)


def test_each_document_is_published_before_what_needs_it(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    write = file._write

    def noting(directory: Path, document: type[file.Document], content: bytes) -> None:
        if directory == home.snapshot:
            order.append(document.__name__)
        write(directory, document, content)

    async def case(place: Place) -> None:
        publish(place.api.home.snapshot, PackedPrincipals(1))
        monkeypatch.setattr(file, "_write", noting)
        async with place.control(), place.linked(place.uplink()):
            await until(lambda: the_same(home, place.api.home))

    joining(tmp_path, home, case)
    assert order == ["PackedPrincipals", "Principals", "Config"]


@pytest.mark.parametrize("content", [b"\xc1 rubbish", msgspec.msgpack.encode((2, {"version": 9}))])
def test_what_is_not_understood_leaves_what_was_there(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    async def case(place: Place) -> None:
        async with place.control(), place.linked(place.uplink()):
            await until(lambda: the_same(home, place.api.home))
            before = written(home.snapshot, Config)
            (place.api.home.snapshot / "config.msgpack").write_bytes(content)
            await until(lambda: "what control publishes is not understood; the one before stays" in caplog.messages)
            await place.api.keys.create("later", Scope("acme"))
            publish(place.api.home.snapshot, Principals(99, {}))
            await until(lambda: Reader(home.snapshot, Principals).changed() == Principals(99, {}))
            assert written(home.snapshot, Config) == before
        told = [message for message in caplog.messages if "is not understood" in message]
        assert len(told) == 1, "it is not asked for again and again"

    joining(tmp_path, home, case)


def test_a_host_with_another_secret_does_not_start(tmp_path: Path, home: Home) -> None:
    async def case(place: Place) -> None:
        place.environ = {pepper.VARIABLE: "quite another secret"}
        async with place.control(), place.linked(place.uplink()) as task:
            error = await end_of(task)
        assert str(error).startswith("control will not have this host: control at 127.0.0.1:")
        assert "keys are hashed under another secret there" in str(error)
        assert list(home.snapshot.iterdir()) == []

    joining(tmp_path, home, case)


@pytest.mark.parametrize(("key", "reason"), [("sk-psadmin-no-such", "401"), ("viewer", "403")])
def test_a_host_without_the_right_key_does_not_start(tmp_path: Path, home: Home, key: str, reason: str) -> None:
    async def case(place: Place) -> None:
        _, viewer = await place.api.keys.create("v", Scope(ALL_TENANTS, role=Role.VIEWER))
        async with place.control(), place.linked(place.uplink(key=viewer if key == "viewer" else key)) as task:
            assert f"answers with status {reason}: " in str(await end_of(task))

    joining(tmp_path, home, case)


def test_a_host_that_is_rejected_later_serves_on(tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture) -> None:
    async def case(place: Place) -> None:
        uplink = place.uplink()
        async with place.control(), place.linked(uplink) as task:
            await until(lambda: the_same(home, place.api.home) and uplink.connection.reachable)
            before = written(home.snapshot, Config)
            await place.api.keys.revoke(place.key.id)
            await until(lambda: "this admin key is not valid" in uplink.connection.detail)
            assert not uplink.connection.reachable
            writer = place.write(settled(1))
            await until(lambda: uplink.connection.waiting > 0)
            assert not task.done()
            assert written(home.snapshot, Config) == before
            writer.close()
        assert len(list(home.journal.iterdir())) == 1, "it is there for another key"
        assert "control will not have this host; it goes on with what it knows" in caplog.messages

    joining(tmp_path, home, case)


def test_a_host_waits_for_a_control_that_is_not_there_yet(tmp_path: Path, home: Home) -> None:
    async def case(place: Place) -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            nobody = Address(host="127.0.0.1", port=gone.getsockname()[1])
        uplink = Uplink(home, Join((nobody,), "sk-psadmin-a-b"), 1, {})
        async with place.linked(uplink) as task:
            await until(lambda: "refuses connections" in uplink.connection.detail)
            assert not task.done()
        both = place.uplink(nobody)
        async with place.control(), place.linked(both):
            await until(lambda: the_same(home, place.api.home) and both.connection.reachable)

    joining(tmp_path, home, case)


def test_a_host_that_starts_again_does_not_publish_what_it_has(tmp_path: Path, home: Home) -> None:
    async def case(place: Place) -> None:
        async with place.control():
            async with place.linked(place.uplink()):
                await until(lambda: the_same(home, place.api.home))
            before = file.stamp(home.snapshot, Config)
            async with place.linked(place.uplink()):
                publish(place.api.home.snapshot, Principals(99, {}))
                await until(lambda: Reader(home.snapshot, Principals).changed() == Principals(99, {}))
                assert file.stamp(home.snapshot, Config) == before

    joining(tmp_path, home, case)


def test_the_journal_goes_into_the_ledger_and_its_segments_go(tmp_path: Path, home: Home) -> None:
    async def case(place: Place) -> None:
        uplink = place.uplink()
        writer = place.write(opened(1), opened(2), settled(1))
        assert uplink.connection.waiting == 0, "nobody has looked"
        async with place.control(), place.linked(uplink):
            await until(lambda: uplink.connection.reachable and uplink.connection.waiting == 0)
            assert await place.ledger() == {settled(1).id: "answered"}
            assert len(list(home.journal.iterdir())) == 1, "its writer lives"
            (row,) = [row for row in (await place.api.get("/admin/v1/hosts"))["hosts"] if not row["own"]]
            assert (row["id"], row["name"], row["segments"]) == (host.load(home.root), socket.gethostname(), 1)
            writer.append(settled(3))
            await place.settled(3)
            assert len(list(home.journal.iterdir())) == 1
            writer.close()
            await until(lambda: not list(home.journal.iterdir()))
        assert await place.ledger() == {
            settled(1).id: "answered", settled(2).id: "lost", settled(3).id: "answered",
        }  # fmt: skip
        hosts = (await place.api.get("/admin/v1/hosts"))["hosts"]
        assert [row["own"] for row in hosts] == [True], "the other has left"

    joining(tmp_path, home, case)


def test_another_control_takes_the_journal_after_one_more_round(tmp_path: Path, home: Home) -> None:
    async def case(place: Place) -> None:
        uplink = place.uplink()
        writer = place.write(opened(1), opened(2))
        async with place.control(), place.linked(uplink):
            await until(lambda: host.load(home.root) in place.api.hosts.known)
            for number in (1, 2):
                place.api.hosts.nonce = f"of control {number}"
                place.api.hosts.known.pop(host.load(home.root), None)
                writer.append(settled(number))
                await place.settled(number)
                assert host.load(home.root) in place.api.hosts.known
            writer.close()
            await until(lambda: not list(home.journal.iterdir()))
            place.api.hosts.nonce = "of one that takes over while the host ends"
        assert await place.ledger() == {settled(1).id: "answered", settled(2).id: "answered"}
        assert [row["own"] for row in (await place.api.get("/admin/v1/hosts"))["hosts"]] == [True], "it has left"

    joining(tmp_path, home, case)


def no(sentence: str, status: bytes) -> bytes:
    return reply(msgspec.json.encode({"error": {"message": sentence}}), status=status)


@pytest.mark.parametrize("status", [b"401 Who", b"403 No", b"404 None", b"409 Conflict", b"503 Waiting"])
def test_a_host_starts_by_the_second_control_when_the_first_does_not_have_it(
    tmp_path: Path, home: Home, status: bytes
) -> None:
    async def case(place: Place) -> None:
        async with Origin(answering(no("not here", status))) as first, place.control():
            uplink = place.uplink(first.address)
            async with place.linked(uplink) as task:
                await until(lambda: the_same(home, place.api.home) and uplink.connection.reachable)
                place.write(settled(1)).close()
                await place.settled(1)
                assert not task.done()
                assert uplink.connection.detail == ""
                assert uplink.connection.control == f"127.0.0.1:{place.address.port}"

    joining(tmp_path, home, case)


def test_a_host_that_no_control_has_does_not_start(tmp_path: Path, home: Home) -> None:
    async def case(place: Place) -> None:
        place.environ = {pepper.VARIABLE: "quite another secret"}
        async with Origin(answering(no("not here", b"409 Conflict"))) as first, place.control():
            async with place.linked(place.uplink(first.address)) as task:
                assert "control will not have this host: " in str(await end_of(task))
            assert first.connections > 0
        assert list(home.snapshot.iterdir()) == []

    joining(tmp_path, home, case)


def test_a_host_that_one_control_does_not_have_waits_for_the_other(tmp_path: Path, home: Home) -> None:
    asked = 0

    async def script(peer: Peer) -> None:
        nonlocal asked
        while await peer.request() is not None:
            asked += 1
            await peer.send(no("not here", b"409 Conflict"))

    async def case(place: Place) -> None:
        async with Origin(script) as first, Origin(answering(no("waiting", b"503 Waiting"))) as second:
            uplink = Uplink(home, Join((first.address, second.address), "sk-psadmin-a-b"), 1, {})
            async with place.linked(uplink) as task:
                await until(lambda: asked > 10)
                assert not task.done()
                assert not uplink.connection.reachable

    joining(tmp_path, home, case)


def test_a_host_without_anything_to_send_reports_all_the_same(tmp_path: Path, home: Home) -> None:
    async def case(place: Place) -> None:
        reports: list[float] = []
        report = place.api.hosts._fold.receive

        async def noting(*arguments: Any) -> object:
            reports.append(asyncio.get_running_loop().time())
            return await report(*arguments)

        place.api.hosts._fold.receive = noting  # type: ignore[method-assign,assignment]  # so that it is seen
        async with place.control(), place.linked(place.uplink()):
            await until(lambda: len(reports) >= 3)

    joining(tmp_path, home, case)


def test_what_is_left_is_sent_at_the_end(tmp_path: Path, home: Home) -> None:
    async def case(place: Place) -> None:
        uplink = place.uplink()
        async with place.control():
            task = asyncio.create_task(uplink.run())
            await until(lambda: uplink.connection.reachable)
            task.cancel()
            await asyncio.wait({task})
            place.write(opened(1), settled(1)).close()
            place.write(opened(2)).close()
            await uplink.close()
            assert list(home.journal.iterdir()) == []
        assert await place.ledger() == {settled(1).id: "answered", settled(2).id: "lost"}

    joining(tmp_path, home, case)


def test_what_cannot_be_sent_at_the_end_stays_for_the_next_start(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    async def case(place: Place) -> None:
        uplink = place.uplink()
        async with place.control():
            task = asyncio.create_task(uplink.run())
            await until(lambda: uplink.connection.reachable)
            task.cancel()
            await asyncio.wait({task})
        place.listener.close()  # control is gone
        place.write(settled(1)).close()
        await uplink.close()
        assert len(list(home.journal.iterdir())) == 1
        assert [r.levelno for r in caplog.records if "part of the journal is not sent yet" in r.message] == [
            logging.WARNING
        ]

    joining(tmp_path, home, case)


def test_an_answer_that_cannot_be_read_does_not_spoil_the_end(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page(*_: object, **__: object) -> bytes:
        return b"<html>"

    async def case(place: Place) -> None:
        uplink = place.uplink()
        async with place.control():
            task = asyncio.create_task(uplink.run())
            await until(lambda: uplink.connection.reachable)
            task.cancel()
            await asyncio.wait({task})
            monkeypatch.setattr(Controls, "ask", page)
            place.write(settled(1)).close()
            await uplink.close()
        assert len(list(home.journal.iterdir())) == 1

    joining(tmp_path, home, case)


def test_a_host_without_the_secret_of_control_says_how_to_get_it(home: Home) -> None:
    with pytest.raises(StartError, match=r"secret\.key into .* \(mode 0600\), or give both the same PENSTOCK_SECRET"):
        Uplink(home, Join((Address(host="127.0.0.1", port=1),), "sk-psadmin-a-b"), 1, {})
    assert not (home.root / pepper.FILE_NAME).exists(), "one that was made here would be another one"
    Uplink(home, Join((Address(host="127.0.0.1", port=1),), "sk-psadmin-a-b"), 1, {pepper.VARIABLE: "s" * 16})


def test_questions_that_are_refused_while_reports_are_taken_are_told_of_once(
    tmp_path: Path, home: Home, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_REJECTED_S", "_INTERVAL_S", "_ALIVE_S"):
        monkeypatch.setattr(module, name, 0.01)
    reports = 0

    async def case(place: Place) -> None:
        uplink = place.uplink()
        report = place.api.hosts._fold.receive

        async def counting(*arguments: Any) -> object:
            nonlocal reports
            reports += 1
            return await report(*arguments)

        place.api.hosts._fold.receive = counting  # type: ignore[method-assign,assignment]  # so that they are counted
        async with place.control(), place.linked(uplink):
            await until(lambda: the_same(home, place.api.home) and uplink.connection.reachable)
            place.api.bulletin._check = b"q" * 32
            place.api.bulletin.close()  # the question that waits is answered
            await until(lambda: "another secret" in uplink.connection.detail)
            seen = reports
            await until(lambda: reports > seen + 20)
            assert not uplink.connection.reachable

    joining(tmp_path, home, case)
    told = [
        text for text in caplog.messages if text == "control will not have this host; it goes on with what it knows"
    ]
    assert len(told) == 1
