from collections.abc import Iterator

import pytest

from tests.processes import Front, Lab, front_with_lab


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Lab]]:
    """One gateway worker in front of one lab upstream, shared by the tests that leave them as they were."""
    with front_with_lab(tmp_path_factory.mktemp("front")) as pair:
        yield pair


@pytest.fixture
def front(pair: tuple[Front, Lab]) -> Front:
    return pair[0]


@pytest.fixture
def lab(pair: tuple[Front, Lab]) -> Lab:
    return pair[1]


@pytest.fixture
def ends_the_row(front: Front) -> Iterator[None]:
    """A success behind each test, so that the failures of many do not open the breaker of the deployment they share."""
    yield
    assert front.chat().status_code == 200
