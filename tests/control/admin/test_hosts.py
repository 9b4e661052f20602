"""The routes for hosts elsewhere; `test_roles.py` has who may call them."""

from __future__ import annotations

import asyncio
import itertools
import socket
from pathlib import Path

import httpx
import msgspec
import pytest

from penstock.auth import pepper
from penstock.auth.roles import Role
from penstock.auth.secrets import SecretRef
from penstock.control import process
from penstock.control.keys import Scope
from penstock.journal.shipping import Piece, Receipt, Report
from penstock.records.database import Database
from penstock.records.keys import ALL_TENANTS
from penstock.snapshot.bundle import Bundle, tag
from penstock.snapshot.config import Config
from penstock.snapshot.file import written
from penstock.snapshot.principals import Principals
from penstock.types.home import Home
from tests.control.admin.api import HOST, NONCE, SECRET, Api, error_of, with_api
from tests.http.origin import turns
from tests.records.exchanges import settled

EU = "0123456789ab"
HOSTS, SNAPSHOT = "/admin/v1/hosts", f"/admin/v1/snapshot?check={pepper.check(SECRET).hex()}"
SEGMENT = f"{EU}~gateway-0-1-1-000000.journal"

LIMITED = """\
version: 1
deployments:
  there: {provider: openai, base_url: "http://127.0.0.1:9/v1", model: m}
models:
  chat: {targets: [there], policies: [few]}
policies:
  few: {limits: [{per: key, requests_per_minute: 5}]}
"""


NUMBERS = itertools.count(1)


def encoded(run: int = 1_700_000_000 * 10**9, *pieces: Piece, control: str = NONCE, leaving: bool = False) -> bytes:
    report = Report(run, "eu-1", "1.1", pieces, leaving, number=next(NUMBERS), control=control)
    return msgspec.msgpack.encode(report)


def test_a_report_is_taken_and_answered_with_what_is_in_the_ledger(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        answer = await api.local.post(f"{HOSTS}/{EU}/report", content=encoded(1, Piece(SEGMENT, 0)))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/msgpack")
        assert msgspec.msgpack.decode(answer.content, type=Receipt) == Receipt({SEGMENT: 0}, control=NONCE)

    with_api(tmp_path, case)


def test_hosts_are_listed_with_what_is_known_of_them(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        api.write(settled(1))
        await api.local.post(f"{HOSTS}/{EU}/report", content=encoded(1_700_000_000 * 10**9, Piece(SEGMENT, 0)))
        rows = (await api.get(HOSTS))["hosts"]
        silent = [row.pop("silent_s") for row in rows]
        assert silent[0] == 0
        assert silent[1] >= 0
        assert rows == [
            {"id": HOST, "name": "control", "version": "1.0", "own": True, "started_at": "2020-09-13T12:26:40Z",
             "segments": 1},
            {"id": EU, "name": "eu-1", "version": "1.1", "own": False, "started_at": "2023-11-14T22:13:20Z",
             "segments": 1},
        ]  # fmt: skip

    with_api(tmp_path, case)


@pytest.mark.parametrize("control", ["", "the one before"])
def test_a_report_to_a_control_that_has_begun_since_is_answered_and_not_taken(tmp_path: Path, control: str) -> None:
    async def case(api: Api) -> None:
        content = encoded(1, Piece(SEGMENT, 0, b"rubbish"), control=control)
        answer = await api.local.post(f"{HOSTS}/{EU}/report", content=content)
        assert answer.status_code == 200
        assert msgspec.msgpack.decode(answer.content, type=Receipt) == Receipt({SEGMENT: 0}, control=NONCE)
        assert [row["id"] for row in (await api.get(HOSTS))["hosts"]] == [HOST]

    with_api(tmp_path, case)


def test_a_host_is_forgotten_once_and_not_while_it_reports(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        await api.local.post(f"{HOSTS}/{EU}/report", content=encoded())
        answer = await api.local.delete(f"{HOSTS}/{EU}")
        assert answer.status_code == 409
        assert error_of(answer)["message"].startswith("this host reports; stop it first")
        assert [row["id"] for row in (await api.get(HOSTS))["hosts"]] == [HOST, EU]
        api.silence()
        answer = await api.local.delete(f"{HOSTS}/{EU}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert [row["id"] for row in (await api.get(HOSTS))["hosts"]] == [HOST]
        answer = await api.local.delete(f"{HOSTS}/{EU}")
        assert answer.status_code == 404
        assert error_of(answer)["message"] == "there is no host of this name"
        answer = await api.local.delete(f"{HOSTS}/{HOST}")
        assert answer.status_code == 409
        assert error_of(answer)["message"] == "this is the host that control is on"

    with_api(tmp_path, case)


def test_a_host_reports_with_one_key_until_it_is_silent(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        first, second = [
            {"authorization": f"Bearer {(await api.keys.create('eu', Scope(ALL_TENANTS, role=Role.GATEWAY)))[1]}"}
            for _ in range(2)
        ]
        path = f"{HOSTS}/{EU}/report"
        assert (await api.tcp.post(path, content=encoded(), headers=first)).status_code == 200
        answer = await api.tcp.post(path, content=encoded(), headers=second)
        assert answer.status_code == 409
        assert "reports with another key" in error_of(answer)["message"]
        assert (await api.tcp.post(path, content=encoded(), headers=first)).status_code == 200
        api.silence()
        assert (await api.tcp.post(path, content=encoded(), headers=second)).status_code == 200

    with_api(tmp_path, case)


def test_a_control_that_waits_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        turn = asyncio.Event()
        database = await Database.open(tmp_path / "p.db")

        async def connect(_url: str) -> Database:
            await turn.wait()  # until another control has ended
            return database

        monkeypatch.setattr(Database, "connect", connect)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reference = SecretRef(env="DATABASE_URL")
            options = process.Options(Home(tmp_path), None, listener.fileno(), -1, -1, None, database=reference)
            opening = asyncio.create_task(process._database(options, {"DATABASE_URL": "of a server"}, asyncio.Event()))
            base = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=20) as client:
                for answer in (
                    await client.get("/admin/v1/status"),
                    await client.get(SNAPSHOT),
                    await client.post(f"{HOSTS}/{EU}/report", content=encoded()),
                ):
                    assert answer.status_code == 503
                    assert error_of(answer)["code"] == "not_leading"
                    assert error_of(answer)["type"] == "server_error"
                    assert int(answer.headers["retry-after"]) > 0
            turn.set()
            assert await opening is database
            listener.getsockname()  # which is open for who serves from now on
        await database.close()

    monkeypatch.setattr(process, "_SOON_S", 0.0)
    asyncio.run(case())


def test_a_control_that_is_stopped_while_it_waits_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        async def connect(_url: str) -> Database:
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(Database, "connect", connect)
        options = process.Options(Home(tmp_path), None, -1, -1, -1, None, database=SecretRef(env="DATABASE_URL"))
        stop = asyncio.Event()
        opening = asyncio.create_task(process._database(options, {"DATABASE_URL": "of a server"}, stop))
        await turns(20)
        assert not opening.done()
        stop.set()
        async with asyncio.timeout(20):
            assert await opening is None

    monkeypatch.setattr(process, "_SOON_S", 0.0)
    asyncio.run(case())


@pytest.mark.parametrize("name", ["0123456789AB", "0123456789a", "0123456789abc", "..%2F..", "0123456789ag"])
def test_what_is_no_name_of_a_host_is_refused(tmp_path: Path, name: str) -> None:
    async def case(api: Api) -> None:
        for answer in (
            await api.local.delete(f"{HOSTS}/{name}"),
            await api.local.post(f"{HOSTS}/{name}/report", content=encoded()),
        ):
            assert answer.status_code in (400, 404)
            error_of(answer)
        assert [row["id"] for row in (await api.get(HOSTS))["hosts"]] == [HOST]

    with_api(tmp_path, case)


@pytest.mark.parametrize("body", [b"", b"{}", b"\xc1", msgspec.msgpack.encode({"run": 1}), encoded()[:-1]])
def test_what_is_no_report_is_refused(tmp_path: Path, body: bytes) -> None:
    async def case(api: Api) -> None:
        answer = await api.local.post(f"{HOSTS}/{EU}/report", content=body)
        assert answer.status_code == 400
        assert error_of(answer)["message"].startswith("this is not a report: ")

    with_api(tmp_path, case)


def test_a_report_of_who_should_not_send_it_is_a_conflict(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        await api.local.post(f"{HOSTS}/{EU}/report", content=encoded(2))
        for host, body, said in (
            (EU, encoded(1), "a node that started later"),
            (HOST, encoded(), "the name of control's own data directory"),
            (EU, encoded(2, Piece("ba9876543210~gateway-0-1-1-000000.journal", 0)), "segments of another host"),
        ):
            answer = await api.local.post(f"{HOSTS}/{host}/report", content=body)
            assert answer.status_code == 409
            assert said in error_of(answer)["message"]

    with_api(tmp_path, case)


def test_what_is_published_is_given_once(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        answer = await api.local.get(SNAPSHOT)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/msgpack")
        documents = msgspec.msgpack.decode(answer.content, type=Bundle).documents
        assert documents == {
            "config": written(api.home.snapshot, Config), "principals": written(api.home.snapshot, Principals),
        }  # fmt: skip
        have = "".join(f"&{name}={tag(content)}" for name, content in documents.items())
        answer = await api.local.get(SNAPSHOT + have)
        assert msgspec.msgpack.decode(answer.content, type=Bundle).documents == {}
        asking = asyncio.create_task(api.local.get(SNAPSHOT + have + "&wait_s=30"))
        await api.keys.create("later", Scope("acme"))
        async with asyncio.timeout(20):
            answer = await asking
        assert msgspec.msgpack.decode(answer.content, type=Bundle).documents == {
            "principals": written(api.home.snapshot, Principals)
        }

    with_api(tmp_path, case)


@pytest.mark.parametrize("query", ["", "?check=ab&wait_s=31", "?check=ab&wait_s=-1", "?check=ab&wait_s=nan"])
def test_a_question_that_makes_no_sense_is_refused(tmp_path: Path, query: str) -> None:
    async def case(api: Api) -> None:
        answer = await api.local.get(f"/admin/v1/snapshot{query}")
        assert answer.status_code == 400
        error_of(answer)

    with_api(tmp_path, case)


def test_a_host_with_another_secret_gets_nothing(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        answer = await api.local.get(f"/admin/v1/snapshot?check={pepper.check(b'q' * 32).hex()}")
        assert answer.status_code == 409
        assert "hashed under another secret" in error_of(answer)["message"]

    with_api(tmp_path, case)


def test_a_stack_whose_limits_are_counted_here_is_given_to_nobody(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        answer = await api.local.get(SNAPSHOT)
        assert answer.status_code == 409
        assert "the model chat has limits, and state.counters is local" in error_of(answer)["message"]

    (tmp_path / "penstock.yaml").write_text(LIMITED)
    with_api(tmp_path, case, tmp_path / "penstock.yaml")


def test_a_key_for_hosts_is_for_all_tenants(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        wanted = {"name": "eu-1", "kind": "admin", "role": "gateway"}
        answer = await api.local.post("/admin/v1/keys", json={**wanted, "tenant": "acme"})
        assert answer.status_code == 400
        assert error_of(answer)["param"] == "tenant"
        made = await api.local.post("/admin/v1/keys", json=wanted)
        assert (made.status_code, made.json()["tenant"], made.json()["role"]) == (201, ALL_TENANTS, "gateway")
        headers = {"authorization": f"Bearer {made.json()['key']}"}
        assert (await api.tcp.get(SNAPSHOT, headers=headers)).status_code == 200
        _, within = await api.keys.create("a", Scope("acme", role=Role.ADMIN))
        headers = {"authorization": f"Bearer {within}"}
        answer = await api.tcp.post("/admin/v1/keys", json=wanted, headers=headers)
        assert answer.status_code == 400, "its maker is for one tenant"
        assert (await api.tcp.get(SNAPSHOT, headers=headers)).status_code == 403

    with_api(tmp_path, case)
