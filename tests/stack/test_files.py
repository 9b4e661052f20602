"""What `load` says about the files that a stack names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock import bundled
from penstock.stack.load import load

CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMII=\n-----END CERTIFICATE-----\n"
PRIVATE_KEY = b"-----BEGIN EC PRIVATE KEY-----\nMII=\n-----END EC PRIVATE KEY-----\n"
STACK = """\
version: 1
gateway: {tls: {certificate: chain.pem, key: key.pem}}
deployments:
  mini:
    engine: llama.cpp
    weights: model.gguf
  large:
    base_url: https://127.0.0.1/v1
    ca: ca.pem
    api_key: file:secret
    model: m
    price: {input: 1, output: 2}
models: {chat: [mini, large]}
"""
GOOD = {
    "chain.pem": CERTIFICATE * 2,
    "key.pem": PRIVATE_KEY,
    "ca.pem": CERTIFICATE,
    "model.gguf": b"GGUF and so on",
    "secret": b"sk-1\n",
}


def warned(directory: Path) -> list[str]:
    stack = load(directory / "penstock.yaml", {}, directory)
    return [warning.written("").replace(str(directory), "…") for warning in stack.warnings]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "penstock.yaml").write_text(STACK)
    for name, content in GOOD.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_files_that_are_as_they_should_be(site: Path) -> None:
    assert warned(site) == []


def test_missing_files(site: Path) -> None:
    for name in GOOD:
        (site / name).unlink()
    assert sorted(warned(site)) == [
        ":10: deployments.large.api_key: there is no file …/secret",
        ":2: gateway.tls.certificate: there is no file …/chain.pem",
        ":2: gateway.tls.key: there is no file …/key.pem",
        ":6: deployments.mini.weights: there is no file …/model.gguf",
        ":9: deployments.large.ca: there is no file …/ca.pem",
    ]


@pytest.mark.parametrize(
    ("name", "content", "warning"),
    [
        ("model.gguf", b"PK\x03\x04", ":6: deployments.mini.weights: …/model.gguf is not a GGUF file"),
        ("model.gguf", b"", ":6: deployments.mini.weights: …/model.gguf is not a GGUF file"),
        ("secret", b" \n", ":10: deployments.large.api_key: …/secret is empty"),
        ("chain.pem", PRIVATE_KEY, ":2: gateway.tls.certificate: …/chain.pem holds no certificate in PEM form"),
        ("key.pem", CERTIFICATE, ":2: gateway.tls.key: …/key.pem holds no private key in PEM form"),
        ("ca.pem", b"\x30\x82", ":9: deployments.large.ca: …/ca.pem holds no certificate in PEM form"),
    ],
)
def test_files_of_another_kind(site: Path, name: str, content: bytes, warning: str) -> None:
    (site / name).write_bytes(content)
    assert warned(site) == [warning]


def test_directories_and_pipes_are_no_files(site: Path) -> None:
    for name in ("model.gguf", "secret"):
        (site / name).unlink()
    (site / "model.gguf").mkdir()
    os.mkfifo(site / "secret")
    assert sorted(warned(site)) == [
        ":10: deployments.large.api_key: …/secret is not a file",
        ":6: deployments.mini.weights: …/model.gguf is not a file",
    ]


def test_the_bundled_model_is_one(site: Path) -> None:
    (site / "model.gguf").unlink()
    (site / "model.gguf").symlink_to(bundled.model("mini").path)
    assert warned(site) == []
