"""One gateway worker with one lab for all tests that leave them as they were, and workers of their own for the rest."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from tests.gateway.streams.client import Client
from tests.processes import Front, Lab, eventually, model, provider


@pytest.fixture
def client(front: Front) -> Iterator[Client]:
    with Client(front) as client:
        yield client


Configured = Callable[..., AbstractContextManager[tuple[Front, Lab]]]


@pytest.fixture(scope="package")
def other_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Lab]]:
    """A second pair, whose configuration changes from test to test."""
    with Lab() as lab, Front(tmp_path_factory.mktemp("other")) as front:
        yield front, lab


@pytest.fixture
def configured(other_pair: tuple[Front, Lab]) -> Configured:
    """
    Return what configures the second pair: `with configured(commit_after_s=0.2, slots=1, first_token_s=1.0)`.

    The model `chat` is the lab; what is said counts from the moment the block is entered.
    """
    front, lab = other_pair
    numbers = itertools.count()

    @contextmanager
    def configure(*, slots: int = 64, first_token_s: float = 10.0, total_s: float = 30.0, **settings: Any) -> Any:
        mark = f"mark-{next(numbers)}-{id(settings)}"
        front.publish(
            [provider("lab", lab.address(), slots=slots)],
            [model("chat", "lab", first_token_s=first_token_s, total_s=total_s), model(mark, "lab")],
            **settings,
        )
        eventually(lambda: mark in front.client.get("/v1/models").text, "the configuration")
        yield front, lab

    return configure
