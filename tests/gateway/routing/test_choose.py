from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.routing.choose import draw_target, drawn, onward, order, shares
from penstock.snapshot.config import Model, Target


def model(weights: list[float], fallback: tuple[str, ...] = ()) -> Model:
    targets = tuple(Target(f"d{number}", weight) for number, weight in enumerate(weights))
    return Model("chat", targets, fallback, 10, 100, 0)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_every_draw_chooses_one_target(weights: list[float], draw: float) -> None:
    assert draw_target(shares(weights), draw) in range(len(weights))


def test_shares_follow_the_weights() -> None:
    found = Counter(draw_target(shares([3, 1]), number / 1000) for number in range(1000))
    assert found == {0: 750, 1: 250}


def test_the_other_targets_come_next_then_the_fallbacks_each_once() -> None:
    assert order(model([1, 1], ("d1", "x", "y")), 1) == ("d1", "d0", "x", "y")
    assert order(model([1, 1, 1], ("x", "d2", "x")), 0) == ("d0", "d1", "d2", "x")


def test_an_exchange_goes_on_to_the_other_targets_by_their_weights() -> None:
    names, weights = ("d0", "d1", "d2", "x"), (1.0, 3.0, 1.0)
    found = Counter(onward(names, weights, {"d1", "d2", "x"}, number / 1000) for number in range(1000))
    assert found == {"d1": 750, "d2": 250}


def test_what_is_near_comes_before_what_is_not() -> None:
    assert order(model([1, 1, 1, 1], ("x",)), 3, (1, 3)) == ("d3", "d1", "d0", "d2", "x")


@given(
    st.sets(st.sampled_from(["d0", "d1", "d2", "x"])),
    st.lists(st.floats(0.001, 1000), min_size=3, max_size=3),
    st.integers(1, 2),
    st.floats(0, 1, exclude_max=True),
)
def test_an_exchange_goes_on_to_what_is_near_however_heavy_the_rest_is(
    usable: set[str], weights: list[float], near: int, draw: float
) -> None:
    names = ("d0", "d1", "d2", "x")
    found = onward(names, weights, usable, draw, near)
    best = next((part for part in (names[:near], names[near:3], names[3:]) if usable & set(part)), ())
    assert found in usable & set(best) or (found is None and not usable)


@given(st.sets(st.sampled_from(["d0", "d1", "x", "y"])), st.floats(0, 1, exclude_max=True))
def test_an_exchange_goes_on_to_what_is_usable_and_to_targets_first(usable: set[str], draw: float) -> None:
    found = onward(("d0", "d1", "x", "y"), (1.0, 2.0), usable, draw)
    assert found in usable or (found is None and not usable)
    if usable & {"d0", "d1"}:
        assert found in {"d0", "d1"}
    elif usable:
        assert found == min(usable)


def test_a_share_is_drawn_as_often_as_it_says() -> None:
    draws = [number / 1000 for number in range(1000)]
    assert sum(drawn(0.1, draw) for draw in draws) == 100
    assert all(drawn(1.0, draw) for draw in draws)
    assert not any(drawn(0.0, draw) for draw in draws)
