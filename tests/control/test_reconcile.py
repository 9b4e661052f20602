import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penstock.control.publish import Published
from penstock.control.reconcile import Reconciler, fixed
from penstock.snapshot.config import Config
from penstock.snapshot.file import Reader
from penstock.snapshot.fleet import Desired
from penstock.stack.load import load
from penstock.stack.watch import Watch
from penstock.types.errors import StackError

TWO = """
version: 1
deployments:
  mini: {engine: llama.cpp, weights: bundled:mini}
  other: {engine: llama.cpp, weights: bundled:mini, parallel: 2}
models:
  chat: {targets: [mini, other]}
"""
ONE = """
version: 1
deployments:
  mini: {engine: llama.cpp, weights: bundled:mini}
models:
  chat: {targets: [mini]}
"""
BROKEN = "version: 1\nmodels: {chat: {targets: [nowhere]}}\n"


class Site:
    """A stack file, what is published for it, and the reconciler between them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "penstock.yaml"
        self.now = 1_700_000_000.0
        self.prepared: list[tuple[int, int]] = []  # versions of what is to come, and of what was there then
        self.reconciler = self.restarted()

    def write(self, text: str) -> None:
        draft = self.directory / "draft"
        draft.write_text(text)
        draft.replace(self.file)

    def restarted(self, workers: int | None = None) -> Reconciler:
        return Reconciler(
            Watch(self.file, {}, self.directory),
            Published(self.directory, Config),
            Published(self.directory, Desired),
            workers,
            lambda: self.now,
            self._prepare,
        )

    async def _prepare(self, config: Config) -> None:
        published = self.config()
        self.prepared.append((config.version, published.version if published else 0))

    async def settle(self) -> None:
        for _ in range(3):  # a watch looks twice before it takes a file for finished
            await self.reconciler.step()

    def config(self) -> Config | None:
        return Reader(self.directory, Config).changed()

    def desired(self) -> Desired | None:
        return Reader(self.directory, Desired).changed()


def at_site(directory: Path, case: Callable[[Site], Awaitable[None]], text: str = TWO) -> None:
    site = Site(directory)
    site.write(text)

    async def whole() -> None:
        await case(site)

    asyncio.run(whole())


def engines(desired: Desired | None) -> list[str]:
    assert desired is not None
    return [spec.deployment for spec in desired.engines]


def test_the_stack_is_published_at_start_and_followed(tmp_path: Path) -> None:
    async def case(site: Site) -> None:
        await site.reconciler.start()
        first = site.config()
        assert first is not None
        assert list(first.deployments) == ["mini", "other"]
        assert engines(site.desired()) == ["mini", "other"]
        site.write(ONE)
        await site.settle()
        second = site.config()
        assert second is not None
        assert list(second.deployments) == ["mini"]
        assert second.version > first.version
        assert engines(site.desired()) == ["mini"]

    at_site(tmp_path, case)


def test_what_has_to_be_ready_for_a_configuration_is_told_before_it(tmp_path: Path) -> None:
    async def case(site: Site) -> None:
        await site.reconciler.start()
        site.write(ONE)
        await site.settle()
        assert site.prepared == [(1, 0), (2, 1)]

    at_site(tmp_path, case)


def test_gateways_are_told_before_the_node(tmp_path: Path) -> None:
    async def case(site: Site) -> None:
        await site.reconciler.start()
        site.write(ONE)
        desired = tmp_path / "desired.msgpack"
        desired.unlink()
        desired.mkdir()  # cannot be replaced now
        await site.settle()
        config = site.config()
        assert config is not None
        assert list(config.deployments) == ["mini"]
        assert "cannot be published" in site.reconciler.error
        desired.rmdir()
        await site.reconciler.step()
        assert engines(site.desired()) == ["mini"]
        assert site.reconciler.error == ""

    at_site(tmp_path, case)


def test_an_invalid_file_is_told_and_the_old_one_stays(tmp_path: Path) -> None:
    async def case(site: Site) -> None:
        await site.reconciler.start()
        before = site.config(), site.desired()
        site.write(BROKEN)
        await site.settle()
        assert "nowhere" in site.reconciler.error
        assert (site.config(), site.desired()) == before
        site.write(TWO)
        await site.settle()
        assert site.reconciler.error == ""
        assert (site.config(), site.desired()) == before  # nothing changed, so nothing is published
        site.file.unlink()
        await site.settle()
        assert site.reconciler.error != ""
        assert (site.config(), site.desired()) == before

    at_site(tmp_path, case)


def test_a_first_start_with_an_invalid_file_fails(tmp_path: Path) -> None:
    async def case(site: Site) -> None:
        with pytest.raises(StackError, match="nowhere"):
            await site.reconciler.start()
        assert site.config() is None

    at_site(tmp_path, case, BROKEN)


def test_a_later_start_with_an_invalid_file_goes_on_with_the_old_one(tmp_path: Path) -> None:
    async def case(site: Site) -> None:
        await site.reconciler.start()
        before = site.config()
        site.write(BROKEN)
        site.reconciler = site.restarted()
        await site.reconciler.start()
        assert "nowhere" in site.reconciler.error
        assert site.reconciler.config == before == site.config()
        assert site.reconciler.restart_needed() == []
        site.write(ONE)
        await site.settle()
        assert engines(site.desired()) == ["mini"]
        assert site.reconciler.error == ""

    at_site(tmp_path, case)


def test_a_restart_changes_nothing_that_the_file_does_not(tmp_path: Path) -> None:
    async def case(site: Site) -> None:
        await site.reconciler.start()
        before = site.config(), site.desired()
        site.now += 1000
        site.reconciler = site.restarted()
        await site.reconciler.start()
        assert (site.config(), site.desired()) == before
        site.write(ONE)
        await site.settle()
        after = site.config()
        assert after is not None
        assert after.models["chat"].created == 1_700_000_000

    at_site(tmp_path, case)


def test_settings_that_wait_for_a_restart_are_named(tmp_path: Path) -> None:
    async def case(site: Site) -> None:
        await site.reconciler.start()
        assert site.reconciler.restart_needed() == []
        site.write(TWO + "gateway: {listen: 127.0.0.1:9999, workers: 3, max_body: 1MiB}\n")
        await site.settle()
        assert site.reconciler.restart_needed() == ["gateway.listen", "gateway.workers"]
        config = site.config()
        assert config is not None
        assert config.gateway.max_body == 1024 * 1024  # the rest takes effect
        site.write(TWO)
        await site.settle()
        assert site.reconciler.restart_needed() == []

    at_site(tmp_path, case)


def test_what_is_shared_out_is_so_among_the_workers_that_run(tmp_path: Path) -> None:
    async def case(site: Site) -> None:
        site.reconciler = site.restarted(workers=4)
        await site.reconciler.start()
        assert site.reconciler.restart_needed() == ["gateway.workers"]
        config = site.config()
        assert config is not None
        assert config.gateway.workers == 4

    at_site(tmp_path, case)


def test_a_change_that_needs_a_restart_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def case(site: Site) -> None:
        await site.reconciler.start()
        site.write(TWO + "admin: {listen: '127.0.0.1:0'}\ngateway: {workers: 5, drain: 1s}\n")
        await site.settle()
        (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert warning == "these changes take effect at the next start: gateway.workers, admin.listen"

    at_site(tmp_path, case)


def test_the_page_remarks_on_every_key_that_needs_a_restart(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "stack.md").read_text()
    remarked = re.findall(r"^\| `([a-z_.]+)` \|.*; restart", page, re.MULTILINE)
    tls = {f"{port}.tls.{part}" for port in ("gateway", "admin") for part in ("certificate", "key")}
    assert {key for key in remarked if key not in tls} == set(fixed(load(None, {}, tmp_path)))
    assert tls <= set(remarked)
