from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.upstream.budget import RetryBudget


@given(st.integers(100, 2000), st.floats(0.001, 0.1))
def test_when_everything_fails_retries_add_a_tenth_and_little_more(requests: int, every_s: float) -> None:
    now = 0.0
    budget = RetryBudget(now)
    retries = 0
    for _ in range(requests):
        budget.asked()
        retries += budget.take(now)
        now += every_s
    assert retries <= 0.1 * requests + 10 + now + 1
    assert retries >= 0.1 * requests - 1


def test_what_is_seldom_asked_may_be_asked_again() -> None:
    budget = RetryBudget(0.0)
    while budget.take(0.0):
        pass
    assert not budget.take(0.9)
    assert budget.take(2.0)


def test_all_that_a_replica_loses_may_be_asked_again() -> None:
    budget = RetryBudget(0.0)
    budget.resize(64)
    assert [budget.take(0.0) for _ in range(65)] == [True] * 64 + [False]
    budget.resize(8)
    budget.resize(8)
    assert not budget.take(0.0), "a new configuration is no gift"
