"""Reading a stack: from a file, from bytes, or the built-in one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
from pydantic import ValidationError

from penstock import bundled
from penstock.auth.secrets import SecretRef
from penstock.stack import cloud, files, prices, schema, source, url
from penstock.stack.deployments import Provider
from penstock.stack.effective import effective
from penstock.stack.keypath import KeyPath, written
from penstock.stack.problem import InvalidStack, Problem
from penstock.stack.reader import Surroundings
from penstock.stack.resolve import Resolved, resolve
from penstock.stack.stack import Stack
from penstock.stack.verdict import problems_of

BUILT_IN_NAME = "built-in stack"

_BUILT_IN: Mapping[str, Any] = MappingProxyType(
    {
        "version": schema.VERSION,
        "deployments": {name: {"engine": "llama.cpp", "weights": f"bundled:{name}"} for name in bundled.MODELS},
        "models": {"chat": {"targets": ["mini"]}, **{name: {"targets": [name]} for name in bundled.MODELS}},
    }
)


def load(path: Path | None, environ: Mapping[str, str], cwd: Path) -> Stack:
    """
    Read and check a stack file. The files that it names are looked at too, which `parse` does not; that gives warnings.

    Args:
        path: the file as the user named it, relative to `cwd`; None for the built-in stack (the bundled models under
            their own names, and `mini` as `chat` too).
        environ: what `${NAME}` reads.
    Raises:
        InvalidStack: the file cannot be read or used; every problem that was found is in it.
    """
    if path is None:
        return _checked(Resolved(dict(_BUILT_IN), {}, {}, ()), (), None, BUILT_IN_NAME, environ, cwd)
    stack = parse(read(cwd / path, str(path)), cwd / path, str(path), environ)
    return msgspec.structs.replace(stack, warnings=(*stack.warnings, *files.doubts(stack)))


def read(path: Path, file: str) -> bytes:
    """
    Return the content of a stack file; more than the most it may have only as far as needed to tell.

    Raises:
        InvalidStack: there is no such file, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer must not block
        with os.fdopen(descriptor, "rb") as opened:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidStack(file, [Problem((), None, "not a regular file")])
            return opened.read(source.MAX_BYTES + 1)
    except FileNotFoundError:
        raise InvalidStack(file, [Problem((), None, "there is no such file")]) from None
    except IsADirectoryError:
        raise InvalidStack(file, [Problem((), None, "is a directory; name the file in it")]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InvalidStack(file, [Problem((), None, f"cannot be read: {reason}")]) from None


def parse(content: bytes, path: Path, file: str, environ: Mapping[str, str]) -> Stack:
    """
    Check the content of a stack file. Prices from the book are those of today.

    Args:
        path: absolute; what the file names by a relative path is looked for next to it.
        file: the name to use in messages.
    Raises:
        InvalidStack: with every problem that was found.
    """
    tree = source.parse(content, file)
    resolved = resolve(tree, file, environ, schema.keeps_reference)
    return _checked(resolved, tree.problems, path, file, environ, path.parent)


def _checked(
    resolved: Resolved,
    found: tuple[Problem, ...],
    path: Path | None,
    file: str,
    environ: Mapping[str, str],
    directory: Path,
) -> Stack:
    names = {"deployment": _names(resolved, "deployments"), "policy": _names(resolved, "policies")}
    around = Surroundings(directory, environ.get("HOME"), names)
    problems = [*found, *resolved.problems]
    try:
        root = schema.Root.model_validate(resolved.data, context=around)
    except ValidationError as error:
        raise InvalidStack(file, [*problems, *problems_of(error, resolved)]) from None
    priced = prices.of(root.deployments, datetime.now(UTC).date())
    problems.extend(_clashes(root, resolved))
    problems.extend(prices.uncountable(root, priced, resolved))
    if problems:
        raise InvalidStack(file, problems)
    return Stack(
        path=path,
        file=file,
        gateway=root.gateway,
        admin=root.admin,
        state=root.state,
        deployments=MappingProxyType(root.deployments),
        models=MappingProxyType(root.models),
        policies=MappingProxyType(root.policies),
        prices=MappingProxyType(priced),
        effective=effective(root, resolved.origins, priced),
        warnings=(*_doubts(root, resolved, environ), *prices.doubts(root, priced, resolved)),
    )


def _names(resolved: Resolved, section: str) -> tuple[str, ...]:
    found = resolved.data.get(section)
    return tuple(found) if isinstance(found, dict) else ()


def _clashes(root: schema.Root, resolved: Resolved) -> Iterator[Problem]:
    """Two servers cannot listen on the same address."""
    taken: dict[str, str] = {}
    for key, listen in (
        (("gateway", "listen"), root.gateway.listen),
        (("gateway", "ops"), root.gateway.ops),
        (("admin", "listen"), root.admin.listen),
    ):
        address = str(listen)
        if address in taken and listen.port:
            line = resolved.key_lines.get(key)
            yield Problem(key, line, f"{address} is already the address of {taken[address]}")
        taken[address] = written(key)


def _doubts(root: schema.Root, resolved: Resolved, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Find what works as far as the file goes, but is hardly meant."""
    if not root.models:
        yield Problem((), None, "there are no models, so there is nothing that clients could ask for")
    applied = {name for model in root.models.values() for name in model.policies}
    for name in root.policies:
        if name not in applied:
            key: KeyPath = ("policies", name)
            yield Problem(key, resolved.key_lines.get(key), "no model has this policy")
    for name, where, schemes in (
        ("database", root.state.database, ("postgresql://", "postgres://")),
        ("counters", root.state.counters, ("redis://", "rediss://", "unix://")),
        ("cache", root.state.cache, ("redis://", "rediss://", "unix://")),
    ):
        if isinstance(where, SecretRef) and where.env is not None:
            key, value = ("state", name), environ.get(where.env)
            line = resolved.key_lines.get(key)
            if not value:
                yield Problem(key, line, f"the environment variable {where.env} is not set")
            elif not value.startswith(schemes):
                known = " or ".join(schemes)
                yield Problem(key, line, f"the address in the environment variable {where.env} must begin with {known}")
    used = {name for model in root.models.values() for name in (*model.weighted, *model.fallback)}
    used |= {model.shadow.deployment for model in root.models.values() if model.shadow is not None}
    for name, deployment in root.deployments.items():
        key = ("deployments", name)
        line = resolved.key_lines.get(key)
        if name not in used:
            yield Problem(key, line, "no model uses this deployment")
        if isinstance(deployment, Provider):
            yield from _secrets(key, deployment, resolved, environ)
            yield from _vendor(key, deployment, resolved)


def _vendor(key: KeyPath, provider: Provider, resolved: Resolved) -> Iterator[Problem]:
    """Find what the vendors' own addresses answer with an error, whatever is asked."""
    address, at = provider.base_url, (*key, "base_url")
    if address.host not in ("api.openai.com", "api.anthropic.com"):
        return
    if provider.api_key is None:
        yield Problem(key, resolved.key_lines.get(key), f"{address.host} wants an api_key")
    if provider.provider != "anthropic" and not address.path:
        yield Problem(at, resolved.key_lines.get(at), f"the API of {address.host} is below /v1, which is missing")


def _secrets(key: KeyPath, provider: Provider, resolved: Resolved, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Find secrets that are not there, and those that others could read on their way."""
    secrets = dict(cloud.secrets_of(provider))
    if provider.api_key is not None:
        secrets["api_key",] = provider.api_key
    for below, reference in secrets.items():
        at = (*key, *below)
        if reference.env is not None and not environ.get(reference.env):
            yield Problem(at, resolved.key_lines.get(at), f"the environment variable {reference.env} is not set")
    plain: list[KeyPath] = (
        [("base_url",)] if secrets and not provider.base_url.tls and not url.local(provider.base_url) else []
    )
    if provider.entra is not None and not provider.entra.authority.tls and not url.local(provider.entra.authority):
        plain.append(("entra", "authority"))
    what = "api_key" if provider.api_key is not None else "credential"
    for below in plain:
        at = (*key, *below)
        yield Problem(at, resolved.key_lines.get(at), f"the {what} travels unencrypted over http://")
