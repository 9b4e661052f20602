"""The silence that a client of a stream hears is one, however many waits it is made of."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from penstock.gateway.exchange import Exchange
from penstock.gateway.keepalive import KeepAlive


class Loop(asyncio.SelectorEventLoop):
    """Takes note of when something is to happen; nothing does."""

    delays: list[float]

    def call_later(self, delay: float, *_: object, **__: object) -> asyncio.TimerHandle:
        self.delays.append(delay)
        return super().call_later(3600, print)


@pytest.mark.parametrize(("waits", "left"), [([], 10.0), ([4.0], 6.0), ([4.0, 5.0], 1.0), ([4.0, 9.0], 0.0)])
def test_the_silence_goes_on_from_wait_to_wait(waits: list[float], left: float) -> None:
    settings = SimpleNamespace(commit_after_s=10.0)
    exchange = cast("Exchange", SimpleNamespace(view=SimpleNamespace(settings=settings), spoke=0.0))
    moments = [100.0]
    loop = Loop()
    loop.delays = []

    async def case() -> None:
        for waited in [*waits, 0.0]:
            with KeepAlive(exchange, lambda: moments[-1]):
                moments.append(moments[-1] + waited)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(case())
    assert loop.delays[-1] == left
