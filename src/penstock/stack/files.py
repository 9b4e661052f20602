"""What is doubtful about the files that a stack names. They may come later, so none of it makes a stack invalid."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from penstock.stack import cloud
from penstock.stack.deployments import Engine, Provider
from penstock.stack.keypath import KeyPath, written
from penstock.stack.problem import Problem
from penstock.stack.stack import Stack

_MOST_READ = 1024 * 1024  # bytes; a certificate chain is far below
_GGUF = b"GGUF"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PRIVATE_KEY = b"PRIVATE KEY-----"


def doubts(stack: Stack) -> Iterator[Problem]:
    """Look into the beginnings of the files, and yield a warning for each that is missing or not what it should be."""
    for port, tls in (("gateway", stack.gateway.tls), ("admin", stack.admin.tls)):
        if tls is not None:
            yield from _pem(stack, (port, "tls", "certificate"), tls.certificate, _CERTIFICATE)
            yield from _pem(stack, (port, "tls", "key"), tls.key, _PRIVATE_KEY)
    for name, deployment in stack.deployments.items():
        key = ("deployments", name)
        if isinstance(deployment, Engine):
            yield from _weights(stack, (*key, "weights"), deployment.weights.path)
        else:
            yield from _provider(stack, key, deployment)


def _provider(stack: Stack, key: KeyPath, provider: Provider) -> Iterator[Problem]:
    secrets = dict(cloud.secrets_of(provider))
    if provider.api_key is not None:
        secrets["api_key",] = provider.api_key
    for below, reference in secrets.items():
        if reference.file is None:
            continue
        content = _beginning(reference.file, _MOST_READ)
        if isinstance(content, str):
            yield _warning(stack, (*key, *below), content)
        elif not content.strip():
            yield _warning(stack, (*key, *below), f"{reference.file} is empty")
    if provider.ca is not None:
        yield from _pem(stack, (*key, "ca"), provider.ca, _CERTIFICATE)


def _weights(stack: Stack, key: KeyPath, path: str) -> Iterator[Problem]:
    content = _beginning(path, len(_GGUF))
    if isinstance(content, str):
        yield _warning(stack, key, content)
    elif content != _GGUF:
        yield _warning(stack, key, f"{path} is not a GGUF file")


def _pem(stack: Stack, key: KeyPath, path: str, mark: bytes) -> Iterator[Problem]:
    content = _beginning(path, _MOST_READ)
    if isinstance(content, str):
        yield _warning(stack, key, content)
    elif mark not in content:
        wanted = "certificate" if mark is _CERTIFICATE else "private key"
        yield _warning(stack, key, f"{path} holds no {wanted} in PEM form")


def _beginning(path: str, most: int) -> bytes | str:
    """Return the first bytes of a file, or why it cannot be read, as a sentence."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer must not block
        with os.fdopen(descriptor, "rb", buffering=0) as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return f"{path} is not a file"
            return opened.read(most) or b""
    except FileNotFoundError:
        return f"there is no file {path}"
    except OSError as error:
        return f"{path} is not a file" if Path(path).is_dir() else f"{path} cannot be read: {error.strerror}"


def _warning(stack: Stack, key: KeyPath, sentence: str) -> Problem:
    origin = stack.origin.get(written(key))
    return Problem(key, origin.line if origin is not None and origin.line else None, sentence)
