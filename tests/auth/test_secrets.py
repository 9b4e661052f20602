"""Secrets that are texts of several lines; what `resolve` reads is tested where it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.auth.secrets import SecretMissing, SecretRef, document


def test_a_document_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(b"{\n}\n")
    assert document(SecretRef(file=str(path)), {}) == b"{\n}\n"
    assert document(SecretRef(env="KEY"), {"KEY": "{\n}"}) == b"{\n}"


@pytest.mark.parametrize("content", [b"", b" \n", b"hunter2" * 10_000])
def test_what_is_empty_or_too_long_is_no_document(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.json"
    path.write_bytes(content)
    for reference in (SecretRef(file=str(path)), SecretRef(env="KEY")):
        with pytest.raises(SecretMissing, match="is empty or too long") as caught:
            document(reference, {"KEY": content.decode()})
        assert "hunter2" not in str(caught.value)


def test_a_document_that_is_not_there_is_told_by_its_reference(tmp_path: Path) -> None:
    with pytest.raises(SecretMissing, match=r"the file .*key\.json cannot be read"):
        document(SecretRef(file=str(tmp_path / "key.json")), {})
    with pytest.raises(SecretMissing, match="the variable KEY is empty"):
        document(SecretRef(env="KEY"), {})
