"""What is remembered of callers without number."""

from __future__ import annotations

import pytest

from penstock.gateway.admission.known import Known


def test_the_newest_are_kept_and_no_more_than_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.gateway.admission.known.MOST", 3)
    known: Known[str, int] = Known()
    for number, name in enumerate("abcd"):
        assert known.keep(name, number) == number
    assert [known.get(name) for name in "abcd"] == [None, 1, 2, 3]
    known.forget("b")
    known.forget("never known")
    known.keep("e", 4)
    assert [known.get(name) for name in "cde"] == [2, 3, 4]
    known.clear()
    assert (len(known), known.get("e")) == (0, None)
