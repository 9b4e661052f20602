from penstock.node.backoff import Backoff


def fail_at_once(backoff: Backoff, times: int) -> list[float]:
    waits = []
    for _ in range(times):
        backoff.started(0)
        waits.append(backoff.ended(0.5))
    return waits


def test_doubles_up_to_ten_seconds() -> None:
    assert fail_at_once(Backoff(), 9) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


def test_the_first_wait_may_be_none() -> None:
    assert fail_at_once(Backoff(first_free=True), 3) == [0, 0.1, 0.2]


def test_a_stable_minute_begins_anew() -> None:
    backoff = Backoff(first_free=True)
    fail_at_once(backoff, 6)
    backoff.started(100)
    assert backoff.ended(159.9) > 1
    backoff.started(200)
    assert backoff.ended(260) == 0
    assert fail_at_once(backoff, 1) == [0.1]
