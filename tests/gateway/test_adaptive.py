"""Weights that adapt to what targets do, through a gateway in front of three lab upstreams."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx
import msgspec
import pytest

from penstock.snapshot.config import Model, Target
from tests.processes import Front, Lab, eventually, model, provider


def weights(front: Front, answer: httpx.Response) -> dict[str, float]:
    """Return the weights in use that the explanation of an exchange tells."""
    route = dict(front.settled(answer.headers["x-request-id"]).explanation)["route"]
    names, _, told = route.removeprefix("any: ").partition("; weights in use: ")
    return dict(zip(names.split(", then "), map(float, told.split(", ")), strict=True))


@pytest.mark.parametrize("stream", [False, True])
def test_a_slow_target_is_asked_less_and_a_change_forgets_nothing(tmp_path: Path, stream: bool) -> None:
    with ExitStack() as stack:
        labs = {name: stack.enter_context(Lab()) for name in ("quick", "slow", "other")}
        front = stack.enter_context(Front(tmp_path))
        deployments = [provider(name, lab.address()) for name, lab in labs.items()]
        targets = tuple(Target(name) for name in labs)
        any_of_them = model("any", adaptive=True)
        front.publish(deployments, [_with(any_of_them, targets)])
        slow = httpx.post(f"{labs['slow'].url}/lab/script", json=[{"order": {"delay": "200ms"}}])
        slow.raise_for_status()

        def ask() -> httpx.Response:
            return front.chat(model="any", stream=stream)

        assert weights(front, ask()) == dict.fromkeys(labs, 1.0)
        eventually(lambda: weights(front, ask())["slow"] < 0.5, "the lower weight")
        asked = Counter(ask().headers["x-penstock-deployment"] for _ in range(60))
        assert asked["slow"] < 15
        assert asked["quick"] + asked["other"] > 45

        front.publish(deployments, [_with(any_of_them, (*targets[1:], targets[0])), model("new", "quick")])
        eventually(lambda: front.chat(model="new").status_code == 200, "the change")
        assert weights(front, ask())["slow"] < 0.5


def _with(entry: Model, targets: tuple[Target, ...]) -> Model:
    return msgspec.structs.replace(entry, targets=targets)
