import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.lab import grammar
from penstock.lab.orders import Order, OrderError, Place


def test_the_short_form_carries_units_lists_and_flags() -> None:
    order = grammar.parse("delay=200ms; cut_after=3; size=2KiB; split_at=3,7; gzip; headers=x-a:1,x-b:2; rate=1kB/s")
    assert order == Order(
        delay=0.2, cut_after=3, size=2048, split_at=(3, 7), gzip=True, headers={"x-a": "1", "x-b": "2"}, rate=1000
    )


def test_json_says_the_same() -> None:
    text = '{"delay": "200ms", "size": 2048, "split_at": [3, 7], "gzip": true, "retry_after": 3}'
    assert grammar.parse_json(text) == Order(delay=0.2, size=2048, split_at=(3, 7), gzip=True, retry_after="3")


def test_nothing_ordered_is_the_default() -> None:
    assert grammar.parse("") == grammar.parse(" ; ") == grammar.parse_json("{}") == Order()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dely=1s", "unknown order `dely`, did you mean `delay`?"),
        ("zzzzzz=1", "unknown order `zzzzzz`"),
        ("delay=3", "order `delay`: `3` is not a duration such as `200ms`, `1.5s` or `2m`"),
        ("delay=-3s", "order `delay`: `-3s` is not a duration such as `200ms`, `1.5s` or `2m`"),
        ("delay", "order `delay` needs a value: `delay=...`"),
        ("=3", "order `=3` has no name in front of `=`"),
        ("delay=1s; delay=2s", "order `delay` is given twice"),
        ("size=3parsecs", "order `size`: `3parsecs` is not a size such as `512`, `64KiB` or `20MiB`"),
        ("size=10GiB", "order `size`: Expected `int` <= 268435456"),
        ("events=many", "order `events`: Expected `int | null`, got `str`"),
        ("events=-1", "order `events`: Expected `int` >= 0"),
        ("status=99", "order `status`: Expected `int` >= 200"),
        ("split_at=0", "order `split_at`: Expected `int` >= 1"),
        ("headers=nothing", "order `headers` is `name:value`, with commas between: not `nothing`"),
        ("usage=lots", "order `usage` cannot be `lots`, only one of normal, missing, null, negative, huge, text"),
        ("cut=in_head; cut_after=2", "order: `cut_after` counts events; it means nothing with `cut=in_head`"),
        (
            "stall=in_character",
            (
                "order `stall` cannot be `in_character`, "
                "only one of before_head, in_head, after_head, after_events, in_event"
            ),
        ),
        ("stall_for=1s", "order: `stall_for` needs `stall` or `stall_after`"),
        ("gzip; broken=utf8", "order: `gzip` would hide a fault inside an event"),
        ("multiline; broken=event", "order: `multiline` cannot lay out the JSON that `broken=event` cuts"),
        (
            "framing=length; events=1000000",
            "order: `framing=length` makes the answer whole first; `events` may be 100000 then",
        ),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(OrderError) as caught:
        grammar.parse(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("text", ["[]", "3", "{", '{"headers": {"a": 1}}', '{"delay": [1]}', "\ud800", '{"cut": 5}'])
def test_json_that_is_no_order_is_refused(text: str) -> None:
    with pytest.raises(OrderError):
        grammar.parse_json(text)


def test_a_count_alone_says_the_place() -> None:
    assert Order(cut_after=3).cut_place == Place("after_events", 3)
    assert Order(cut="in_event").cut_place == Place("in_event", 0)
    assert Order(stall="before_head").stall_place == Place("before_head", 0)
    assert Order().cut_place is None


@given(st.text())
def test_any_short_form_is_an_order_or_refused(text: str) -> None:
    try:
        assert isinstance(grammar.parse(text), Order)
    except OrderError as error:
        assert str(error)


@given(
    st.dictionaries(
        st.sampled_from(sorted(grammar.FIELDS)),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=3),
        max_size=4,
    )
)
def test_any_fields_are_an_order_or_refused(fields: dict[str, object]) -> None:
    try:
        order = grammar.from_mapping(fields)
    except OrderError as error:
        assert str(error)
    else:
        assert 200 <= order.status <= 599
        assert 0 <= order.delay <= 86400


@pytest.mark.parametrize("order", [Order(events=5, cut_after=2), Order(headers={"a": "b"}, informational=(103,))])
def test_what_has_no_units_can_be_written_and_read_back(order: Order) -> None:
    assert grammar.parse_json(json.dumps(msgspec.to_builtins(order))) == order
