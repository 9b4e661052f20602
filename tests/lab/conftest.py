"""Runs a case against an upstream."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from penstock.lab.upstream import Upstream
from tests.lab.raw import Case

Run = Callable[..., None]


async def _with_upstream(case: Case, arguments: dict[str, Any]) -> None:
    async with Upstream(**arguments) as upstream:
        await case(upstream)


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    """Return what runs a case with an upstream of the given arguments, on uvloop and on asyncio's own loop."""

    def start(case: Case, **arguments: Any) -> None:
        (uvloop.run if request.param == "uvloop" else asyncio.run)(_with_upstream(case, arguments))

    return start


@pytest.fixture
def serve() -> Run:
    """Return what runs a case with an upstream of the given arguments, for what does not depend on the loop."""

    def start(case: Case, **arguments: Any) -> None:
        uvloop.run(_with_upstream(case, arguments))

    return start
