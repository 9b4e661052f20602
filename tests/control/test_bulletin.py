"""What hosts elsewhere are told, and who is let in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from penstock.auth import pepper
from penstock.auth.secrets import SecretRef
from penstock.control import bulletin as module
from penstock.control.bulletin import Bulletin, Unwelcome
from penstock.pricing.period import Period
from penstock.snapshot import file
from penstock.snapshot.bundle import DOCUMENTS, tag
from penstock.snapshot.config import Budget, Config, GatewaySettings, Limit, Measure, Outage
from penstock.snapshot.file import Document, publish, written
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals
from tests.http.origin import turns
from tests.processes import model

SECRET = b"p" * 32
CHECK = pepper.check(SECRET).hex()


@pytest.fixture(autouse=True)
def _attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.0)


def told(snapshot: Path, document: Document) -> str:
    """Publish, and return the tag that somebody has who has it."""
    publish(snapshot, document)
    return tag(written(snapshot, type(document)))


def config(version: int = 1, *, counters: bool = False, **fields: Any) -> Config:
    reference = SecretRef(env="REDIS_URL") if counters else None
    return Config(version, {}, {"chat": model("chat", "mini", **fields)}, GatewaySettings(counters=reference))


LIMITED: dict[str, Any] = {"limits": (Limit("p", ("key",), Measure.REQUESTS, 5, Outage.DENY),)}
BUDGETED: dict[str, Any] = {"budgets": (Budget("b", "p", ("key",), Period.DAY, ("chat",), 5, Outage.DENY),)}


def test_a_host_with_another_secret_is_unwelcome(tmp_path: Path) -> None:
    async def case(snapshot: Path) -> None:
        bulletin = Bulletin(snapshot, SECRET)
        await bulletin.news(CHECK, {}, 0)
        for check in (pepper.check(b"q" * 32).hex(), "", "é", CHECK[:-1]):
            with pytest.raises(Unwelcome, match="hashed under another secret"):
                await bulletin.news(check, {}, 0)

    asyncio.run(case(tmp_path))


@pytest.mark.parametrize(
    ("published", "welcome"),
    [
        (None, True),
        (config(2), True),
        (config(**LIMITED), False),
        (config(**BUDGETED), False),
        (config(counters=True, **LIMITED, **BUDGETED), True),
    ],
)
def test_limits_that_each_host_would_count_alone_keep_it_out(
    tmp_path: Path, published: Config | None, welcome: bool
) -> None:
    async def case(snapshot: Path) -> None:
        bulletin = Bulletin(snapshot, SECRET)
        known = {"config": told(snapshot, config())}
        asking = asyncio.create_task(bulletin.news(CHECK, known, 600))
        await turns()
        if published is not None:
            told(snapshot, published)
        else:
            bulletin.close()
        if welcome:
            assert list((await asking).documents) == (["config"] if published and published != config() else [])
        else:
            with pytest.raises(Unwelcome, match=r"the model chat has limits, and state\.counters is local"):
                await asking
            with pytest.raises(Unwelcome):
                await bulletin.news(CHECK, {}, 0)

    asyncio.run(case(tmp_path))


def test_only_what_is_missing_is_told(tmp_path: Path) -> None:
    async def case(snapshot: Path) -> None:
        bulletin = Bulletin(snapshot, SECRET)
        assert (await bulletin.news(CHECK, {}, 0)).documents == {}
        known = {"config": told(snapshot, config()), "principals": told(snapshot, Principals(1, {}))}
        everything = (await bulletin.news(CHECK, {}, 0)).documents
        assert everything == {
            "config": written(snapshot, Config), "principals": written(snapshot, Principals),
        }  # fmt: skip
        assert (await bulletin.news(CHECK, known, 0)).documents == {}
        assert (await bulletin.news(CHECK, {**known, "config": "of another control", "base": ""}, 0)).documents == {
            "config": everything["config"]
        }
        told(snapshot, PackedPrincipals(1))
        assert list((await bulletin.news(CHECK, known, 0)).documents) == ["base"]

    asyncio.run(case(tmp_path))


def test_who_has_everything_waits_for_the_next_change(tmp_path: Path) -> None:
    async def case(snapshot: Path) -> None:
        bulletin = Bulletin(snapshot, SECRET)
        known = {"config": told(snapshot, config()), "principals": told(snapshot, Principals(1, {}))}
        asking = [asyncio.create_task(bulletin.news(CHECK, known, 600)) for _ in range(3)]
        await turns()
        assert not any(task.done() for task in asking)
        told(snapshot, config(2))
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*asking)
        assert [answer.documents for answer in answers] == [{"config": written(snapshot, Config)}] * 3

    asyncio.run(case(tmp_path))


def test_nobody_is_kept_waiting_when_control_ends(tmp_path: Path) -> None:
    async def case(snapshot: Path) -> None:
        bulletin = Bulletin(snapshot, SECRET)
        asking = asyncio.create_task(bulletin.news(CHECK, {}, 600))
        await turns()
        assert not asking.done()
        bulletin.close()
        async with asyncio.timeout(20):
            assert (await asking).documents == {}

    asyncio.run(case(tmp_path))


def test_a_host_is_welcome_again_once_there_are_no_limits(tmp_path: Path) -> None:
    async def case(snapshot: Path) -> None:
        bulletin = Bulletin(snapshot, SECRET)
        told(snapshot, config(**LIMITED))
        with pytest.raises(Unwelcome):
            await bulletin.news(CHECK, {}, 600)
        told(snapshot, config(2))
        assert (await bulletin.news(CHECK, {}, 0)).documents == {"config": written(snapshot, Config)}

    asyncio.run(case(tmp_path))


def test_however_many_wait_the_disk_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    stamp = file.stamp

    def counting(snapshot: Path, document: type[Document]) -> file.Stamp | None:
        nonlocal looks
        looks += 1
        return stamp(snapshot, document)

    async def case(snapshot: Path) -> None:
        bulletin = Bulletin(snapshot, SECRET)
        asking = [asyncio.create_task(bulletin.news(CHECK, {}, 600)) for _ in range(50)]
        await turns()
        assert looks == len(DOCUMENTS)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)

    monkeypatch.setattr(module, "_LOOK_S", 60.0)
    monkeypatch.setattr(file, "stamp", counting)
    asyncio.run(case(tmp_path))
