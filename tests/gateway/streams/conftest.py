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
def configured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Configured]:
    """
    Yield what configures a second pair: `with configured(commit_after_s=0.2, seats=1, first_token_s=1.0)`.

    The model `chat` is the lab; what is said counts from the moment the block is entered.
    """
    numbers = itertools.count()
    current: dict[str, object] = {"nothing": "yet"}
    with Lab() as lab, Front(tmp_path_factory.mktemp("configured")) as front:

        @contextmanager
        def configure(*, seats: int = 64, first_token_s: float = 10.0, total_s: float = 30.0, **settings: Any) -> Any:
            wanted = {"seats": seats, "first_token_s": first_token_s, "total_s": total_s, **settings}
            if wanted != current:
                mark = f"mark-{next(numbers)}"
                chat = model("chat", "lab", first_token_s=first_token_s, total_s=total_s)
                front.publish([provider("lab", lab.address(), seats=seats)], [chat, model(mark, "lab")], **settings)
                eventually(lambda: mark in front.client.get("/v1/models").text, "the configuration")
                current.clear()
                current.update(wanted)
            yield front, lab
            eventually(lambda: front.chat().status_code == 200, "a success behind a row of failures")

        yield configure
