from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.routing.choose import draw_target, order, shares
from penstock.snapshot.config import Model, Target


def model(weights: list[float], fallback: tuple[str, ...] = ()) -> Model:
    targets = tuple(Target(f"d{number}", weight) for number, weight in enumerate(weights))
    return Model("chat", targets, fallback, 10, 100, 0)


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_every_draw_chooses_one_target(weights: list[float], draw: float) -> None:
    assert draw_target(shares(weights), draw) in range(len(weights))


def test_shares_follow_the_weights() -> None:
    drawn = Counter(draw_target(shares([3, 1]), number / 1000) for number in range(1000))
    assert drawn == {0: 750, 1: 250}


def test_fallbacks_come_after_and_never_name_the_chosen_one_again() -> None:
    assert order(model([1, 1], ("d1", "x", "y")), 1) == ("d1", "x", "y")
    assert order(model([1, 1], ("d1", "x", "y")), 0) == ("d0", "d1", "x", "y")
