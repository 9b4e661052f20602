"""What upstreams say about when to come back, in all the ways they say it."""

import json
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.upstream.hints import LONGEST_S, retry_after

NOW = 1_700_000_000.0
GOOGLE = {
    "error": {"code": 429, "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13s"}]}
}


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({}, {}, None),
        ({"retry-after": "7"}, {}, 7),
        ({"retry-after": "1.5"}, {}, 1.5),
        ({"retry-after": "0"}, {}, 0),
        ({"retry-after": "100000"}, {}, LONGEST_S),
        ({"retry-after": "9" * 40}, {}, None),
        ({"retry-after": "-3"}, {}, None),
        ({"retry-after": "soon"}, {}, None),
        ({"retry-after": formatdate(NOW + 30, usegmt=True)}, {}, 30),
        ({"retry-after": formatdate(NOW - 30, usegmt=True)}, {}, 0),
        ({"retry-after": "Wed, 99 Foo 2026 25:00:00 GMT"}, {}, None),
        ({"retry-after-ms": "250", "retry-after": "1"}, {}, 0.25),
        ({"retry-after": "2", "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "9s"}, {}, 2),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"}, {}, 90),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, {}, 0.12),
        ({"x-ratelimit-remaining-tokens": "5", "x-ratelimit-reset-tokens": "120ms"}, {}, None),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "a while"}, {}, None),
        ({}, GOOGLE, 13),
        ({}, {"error": {"details": [{"retryDelay": "0.5s"}, {"retryDelay": 7}]}}, None),
        ({}, {"error": {"details": "retryDelay"}}, None),
    ],
    ids=str,
)
def test_what_is_said_is_understood(headers: dict[str, str], body: object, seconds: float | None) -> None:
    lines = {name.encode(): value.encode() for name, value in headers.items()}
    assert retry_after(lines, json.dumps(body).encode(), NOW) == (
        seconds if seconds is None else pytest.approx(seconds)
    )


@given(
    st.dictionaries(
        st.sampled_from([b"retry-after", b"retry-after-ms", b"x-ratelimit-reset-tokens"]), st.binary(max_size=80)
    ),
    st.binary(max_size=100).map(lambda junk: b'{"retryDelay"' + junk),
)
def test_nonsense_is_never_believed_beyond_the_bound(headers: dict[bytes, bytes], body: bytes) -> None:
    said = retry_after({b"x-ratelimit-remaining-tokens": b"0", **headers}, body, NOW)
    assert said is None or 0 <= said <= LONGEST_S
