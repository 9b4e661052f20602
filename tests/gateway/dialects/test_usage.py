import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.dialects import usage
from penstock.types.usage import Usage, UsageSource


def test_usage_of_a_reply() -> None:
    document = {"usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}}
    assert usage.reported(json.dumps(document).encode()) == Usage(10, 5, 4, UsageSource.UPSTREAM)


def test_embeddings_have_no_output() -> None:
    assert usage.reported(b'{"usage":{"prompt_tokens":7,"total_tokens":7}}') == Usage(7, 0, 0, UsageSource.UPSTREAM)


@pytest.mark.parametrize(
    "given_usage",
    [
        None,
        {},
        {"completion_tokens": 5},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": 1, "completion_tokens": -5},
        {"prompt_tokens": 10**15, "completion_tokens": 5},
        {"prompt_tokens": 1.5},
        {"prompt_tokens": "1"},
        {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}},
        [],
    ],
)
def test_usage_that_cannot_be_believed_is_none(given_usage: Any) -> None:
    assert usage.reported(json.dumps({"usage": given_usage}).encode()) is None


@given(st.binary(max_size=50))
def test_any_bytes_are_read(document: bytes) -> None:
    assert usage.reported(document) is None


def test_what_is_not_reported_says_how_it_is_known() -> None:
    assert usage.counted(3, 4) == Usage(3, 4, 0, UsageSource.COUNTED)
    assert usage.of_all(Usage(3, 4, 1, UsageSource.UPSTREAM), 5) == Usage(3, 20, 1, UsageSource.ESTIMATED)
    assert usage.estimated(2, 9) == Usage(2, 3, 0, UsageSource.ESTIMATED)


def test_a_stream_that_broke_off_behind_zeros_has_had_a_prompt() -> None:
    """As `message_start` of some upstreams that speak messages, or `response.in_progress`, tells them."""
    begun = Usage(0, 0, 0, UsageSource.UPSTREAM)
    assert usage.with_output(begun, 100, 7) == Usage(100, 7, 0, UsageSource.COUNTED)
    told = Usage(50, 1, 20, UsageSource.UPSTREAM)
    assert usage.with_output(told, 100, 7) == Usage(50, 7, 20, UsageSource.COUNTED)
