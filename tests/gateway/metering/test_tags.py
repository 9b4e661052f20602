from __future__ import annotations

import pytest

from penstock.gateway.metering import tags
from penstock.types.errors import InvalidRequest


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (b"team=search", "team=search"),
        (b"team=search,env=prod", "env=prod,team=search"),
        (b" team=search ,\tenv=prod ", "env=prod,team=search"),
        (b"url=https://a.b/c@1:2+3", "url=https://a.b/c@1:2+3"),
        (b"A_b.c-9=Z", "A_b.c-9=Z"),
        (b"n" * 32 + b"=" + b"v" * 64, "n" * 32 + "=" + "v" * 64),
        (b",".join(b"t%d=1" % number for number in range(tags.MOST)), ",".join(f"t{n}=1" for n in range(tags.MOST))),
    ],
)
def test_tags_are_kept_by_name(header: bytes, kept: str) -> None:
    assert tags.read(header) == kept


@pytest.mark.parametrize(
    ("header", "what"),
    [
        (b"", "must be name=value"),
        (b"team", "not 'team'"),
        (b"team=", "must be"),
        (b"=search", "must be"),
        (b"team=search,", "not ''"),
        (b"team=a=b", "must be"),
        (b"team=a b", "must be"),
        (b"te am=a", "must be"),
        (b"team=(other)", "must be"),
        (b"team=\xff", "must be"),
        (b"team=" + b"v" * 65, "must be"),
        (b"n" * 33 + b"=v", "must be"),
        (b"team=" + b"v" * 10_000, "not 'team=v{95}'"),
        (b"team=a,team=b", "has the tag 'team' twice"),
        (b",".join(b"t%d=1" % number for number in range(tags.MOST + 1)), "has 9 tags; at most 8"),
    ],
)
def test_bad_tags_are_refused_in_one_sentence(header: bytes, what: str) -> None:
    with pytest.raises(InvalidRequest, match=what) as caught:
        tags.read(header)
    assert (caught.value.param, caught.value.code) == ("x-penstock-tags", "invalid_tags")
    assert len(str(caught.value)) < 400
