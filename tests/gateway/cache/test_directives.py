"""What `cache-control` of a request asks for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.cache.directives import ANY, Directives, read


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, ANY),
        (b"", ANY),
        (b"no-transform, max-stale=5, x=y", ANY),
        (b"no-cache", Directives(reads=False, words="no-cache")),
        (b"NO-CACHE", Directives(reads=False, words="no-cache")),
        (b"no-store", Directives(reads=False, keeps=False, words="no-store")),
        (b"no-cache, no-store", Directives(reads=False, keeps=False, words="no-cache, no-store")),
        (b"only-if-cached", Directives(only=True, words="only-if-cached")),
        (b"max-age=60", Directives(max_age_s=60, words="max-age")),
        (b' max-age = "60" ,max-age=30', Directives(max_age_s=30, words="max-age")),
        (b"max-age=0", Directives(max_age_s=0, words="max-age")),
        (b"max-age", ANY),
        (b"max-age=-1", Directives(reads=False, max_age_s=-1, words="max-age")),
        (b"max-age=1.5", Directives(reads=False, max_age_s=-1, words="max-age")),
        (b"max-age=soon", Directives(reads=False, max_age_s=-1, words="max-age")),
        (b"x" * 2000 + b", no-cache", ANY),
    ],
)
def test_what_is_asked_for(header: bytes | None, found: Directives) -> None:
    assert read(header) == found


@given(
    st.binary(max_size=64) | st.lists(st.sampled_from([b"no-cache", b"max-age=", b"1", b",", b"=", b'"'])).map(b"".join)
)
def test_no_header_is_too_odd(header: bytes) -> None:
    found = read(header)
    assert found.reads or found.words
    assert not math.isnan(found.max_age_s)
    assert found.words.isascii()
