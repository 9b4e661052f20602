"""Which session an exchange belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.gateway.routing.session import session_of
from penstock.types.dialect import Dialect
from tests.gateway.routing.test_prefix import call

_ALL: dict[str, Any] = {"user": "u", "metadata": {"user_id": "m"}, "prompt_cache_key": "p"}


def session(header: bytes = b"", tenant: str = "default", **fields: Any) -> int | None:
    return session_of(tenant, header, call(Dialect.RESPONSES, input="hi", **fields))


def test_who_says_it_and_in_which_order() -> None:
    said = session(b"h")
    assert session(b"h", **_ALL) == said
    assert session(**_ALL) == session(user="u")
    assert session(**{**_ALL, "user": ""}) == session(metadata={"user_id": "m", "other": 1})
    assert session(metadata={"other": 1}, prompt_cache_key="p") == session(prompt_cache_key="p")
    assert len({said, *(session(**{name: value}) for name, value in _ALL.items())}) == 4


@pytest.mark.parametrize(
    "fields",
    [{}, {"user": 7}, {"user": None}, {"metadata": "m"}, {"metadata": {"user_id": 7}}, {"prompt_cache_key": []}],
)
def test_what_is_no_text_says_nothing(fields: dict[str, Any]) -> None:
    assert session(**fields) is None


def test_sessions_of_two_tenants_are_two() -> None:
    assert session(b"1", "one") != session(b"1", "two")
