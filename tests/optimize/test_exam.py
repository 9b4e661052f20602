import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.optimize.exam import questions, right, wilson


def test_an_exam_has_so_many_questions_of_each_kind_and_the_same_for_a_seed() -> None:
    asked = questions(["arithmetic", "dates"], ["easy", "hard"], seed=7, count=5)
    assert [(each.family, each.level) for each in asked] == [
        (family, level) for family in ("arithmetic", "dates") for level in ("easy", "hard") for _ in range(5)
    ]
    assert asked == questions(["arithmetic", "dates"], ["easy", "hard"], seed=7, count=5)
    assert asked != questions(["arithmetic", "dates"], ["easy", "hard"], seed=8, count=5)


def test_what_else_is_asked_does_not_change_a_question() -> None:
    alone = questions(["dates"], ["hard"], seed=7, count=5)
    assert questions(["arithmetic", "dates"], ["easy", "hard"], seed=7, count=5)[-5:] == alone
    assert questions(["dates"], ["hard"], seed=7, count=9)[:5] == alone


def test_an_unknown_family_is_an_error() -> None:
    with pytest.raises(KeyError):
        questions(["alchemy"], ["easy"], seed=1, count=1)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("72", "72"),
        ("72", " 72.\n"),
        ("Hello! How can I help you?", "Hello!  How can I\nhelp you?"),
        ('{"name": "Ida", "paid": true}', '{"paid":true,\n "name":"Ida"}'),
    ],
)
def test_layout_does_not_matter(answer: str, reply: str) -> None:
    assert right(answer, reply)


@pytest.mark.parametrize(
    ("answer", "reply"),
    [
        ("72", "27"),
        ("72", "The answer is 72"),
        ("72", ""),
        ("APPLE", "apple"),
        ('{"count": 1}', '{"count": true}'),
        ('{"count": 1}', '{"count": "1"}'),
        ('{"count": 1}', '{"count": 1, "more": 2}'),
        ('{"count": 1}', "count 1"),
        ('{"count": 1}', "[" * 100_000),
    ],
)
def test_anything_else_is_wrong(answer: str, reply: str) -> None:
    assert not right(answer, reply)


def test_wilsons_interval_is_that_of_the_books() -> None:
    # Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for seen, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(seen, total) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_the_interval_holds_the_share(seen: int, missed: int) -> None:
    low, high = wilson(seen, seen + missed)
    assert 0 <= low <= high <= 1
    if seen + missed:
        assert low <= seen / (seen + missed) + 1e-12
        assert high >= seen / (seen + missed) - 1e-12
