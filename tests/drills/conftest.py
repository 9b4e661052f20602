from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.lab.running import Running, free_port, start

Start = Callable[..., Running]


def stack_text(*, workers: int = 1, mini: str = "", models: str = "", deployments: str = "", extra: str = "") -> str:
    """Return a stack with the bundled model as `chat`, on free ports."""
    return f"""\
version: 1
gateway: {{listen: 127.0.0.1:{free_port()}, ops: 127.0.0.1:{free_port()}, workers: {workers}}}
admin: {{listen: 127.0.0.1:{free_port()}}}
deployments:
  mini: {{engine: llama.cpp, weights: "bundled:mini", price: {{input: 0.02, output: 0.02}}{mini}}}
{deployments}
models:
  chat: {{targets: [mini], timeout: {{first_token: 30s, total: 60s}}}}
{models}
{extra}
"""


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Start]:
    """Starts Penstocks in this test's directory, and stops them."""
    started: list[Running] = []

    def begin(text: str | None = None) -> Running:
        running = start(tmp_path / "home", text if text is not None else stack_text())
        started.append(running)
        return running

    yield begin
    for running in started:
        running.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One Penstock with the bundled model, for tests that leave it as it was."""
    with start(tmp_path_factory.mktemp("shared"), stack_text()) as running:
        yield running
