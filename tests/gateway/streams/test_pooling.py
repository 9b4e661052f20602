"""Kept connections that the upstream has meanwhile closed never fail a request that can be sent again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.gateway.streams.client import Client
from tests.gateway.streams.conftest import Configured
from tests.processes import Front, Lab

IMPATIENT = [
    {"probability": 0.4, "order": {"close_idle": 0}},
    {"probability": 0.4, "order": {"close_idle": "300us"}},
    {"order": {"close_idle": "2ms"}},
]


@pytest.fixture
def impatient(configured: Configured) -> Iterator[tuple[Front, Lab]]:
    """A gateway whose upstream closes every connection unannounced, at once or a moment after its answer."""
    with configured() as (front, lab), httpx.Client(base_url=lab.url) as desk:
        desk.post("/lab/script", json={"seed": 5, "rules": IMPATIENT}).raise_for_status()
        yield front, lab
        desk.post("/lab/reset").raise_for_status()


def many(front: Front, count: int, prompt: str) -> int:
    """Ask in turn, streamed and plain, on one connection; return how many were answered well."""
    good = 0
    with Client(front) as client:
        for number in range(count):
            stream = number % 2 == 0
            answer = client.ask(prompt, stream=stream)
            assert answer.status == 200, answer.data
            text = answer.text if stream else answer.json["choices"][0]["message"]["content"]
            good += text == f"echo: {prompt[:4096]}" and (answer.done or not stream)
    return good


def test_one_after_the_other(impatient: tuple[Front, Lab]) -> None:
    assert many(impatient[0], 300, "hello there") == 300


def test_many_at_a_time(impatient: tuple[Front, Lab]) -> None:
    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(lambda _: many(impatient[0], 40, "hello there"), range(16))) == 640


def test_large_bodies(impatient: tuple[Front, Lab]) -> None:
    """Which are written in pieces, so that the upstream's end is met in the middle of them."""
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(lambda _: many(impatient[0], 20, "word " * 100_000), range(4))) == 80


def test_connections_that_end_well_are_kept(front: Front, lab: Lab) -> None:
    """Also those of streams whose last chunk comes a moment behind their end."""
    assert many(front, 20, "hello there") == 20
    assert lab.stats()["open_connections"] < 20
