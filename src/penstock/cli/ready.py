"""The block that `penstock up` prints when everything serves. Text only; the caller prints it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import msgspec

from penstock import __version__
from penstock.cli.output import line

QUESTION = "What is 27 + 45?"

_PATH = "/v1/chat/completions"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "*": "127.0.0.1", "": "127.0.0.1"}  # noqa: S104  # read here, not bound


class Bound(msgspec.Struct, frozen=True):
    """An address that is listened on; a Unix socket when `unix` is set."""

    host: str = ""
    port: int = 0
    tls: bool = False
    unix: str | None = None

    @property
    def url(self) -> str:
        """Where to reach it from this machine."""
        if self.unix is not None:
            return f"unix:{self.unix}"
        host = _ANY.get(self.host, self.host)
        return f"{'https' if self.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


class Facts(msgspec.Struct, frozen=True):
    """
    What there is to say.

    Attributes:
        title: what has started: `penstock`, `penstock gateway`.
        seconds: from the start to ready.
        local: path of the data port's Unix socket, for a call without a key.
        data: path of the data directory.
        models: names in the order of the stack.
        failures: `(what, why)` of each replica that does not serve.
        first_key, admin_key: shown only at the start that made them.
        admin_key_variable: the environment variable that holds the admin key, if one does.
    """

    title: str
    seconds: float
    local: str
    data: str
    models: tuple[str, ...] = ()
    gateway: Bound | None = None
    admin: Bound | None = None
    ops: Bound | None = None
    first_key: str = ""
    admin_key: str = ""
    admin_key_variable: str = ""
    failures: tuple[tuple[str, str], ...] = ()


def block(facts: Facts) -> str:
    """Return the lines to print."""
    return "\n".join(_lines(facts))


def _lines(facts: Facts) -> Iterator[str]:
    yield f"{facts.title} {__version__} is ready ({facts.seconds:.1f} s)"
    if facts.gateway is not None:
        base = facts.gateway.url if facts.gateway.unix is not None else f"{facts.gateway.url}/v1"
        yield _row("gateway", base, f"models: {', '.join(facts.models) or 'none'}")
    ops = f"ops: {facts.ops.url}" if facts.ops is not None else ""
    if facts.admin is not None:
        yield _row("admin", facts.admin.url, ops)
    elif facts.ops is not None:
        yield _row("ops", facts.ops.url)
    yield _row("data", line(facts.data))
    if facts.first_key:
        yield _row("key", facts.first_key, "shown once; `penstock keys create` makes another")
    if facts.admin_key:
        yield _row("admin key", facts.admin_key, "shown once")
    elif facts.admin_key_variable:
        yield _row("admin key", f"from {facts.admin_key_variable}")
    for name, detail in facts.failures:
        yield _row("failed", f"{line(name)}: {line(detail)}")
    if facts.gateway is not None and facts.models:
        yield "Try it:"
        yield f"  {curl(facts)}"


def curl(facts: Facts) -> str:
    """
    Return one line for a shell that asks the first model a question.

    With the first key it goes to the data port as any client would; without, to the Unix socket, which needs none.
    """
    # Temperature 0: a question with one right answer gets the likeliest one, every time.
    messages = [{"role": "user", "content": QUESTION}]
    body = json.dumps({"model": facts.models[0], "temperature": 0, "messages": messages})
    words = ["curl", "-s"]
    if not facts.first_key or facts.gateway is None:
        words += ["--unix-socket", facts.local, f"http://localhost{_PATH}"]
    else:
        if facts.gateway.tls:
            words.append("-k")  # the certificate is the operator's own and need not be one that this machine trusts
        if facts.gateway.unix is not None:
            words += [
                "--unix-socket",
                facts.gateway.unix,
                f"{'https' if facts.gateway.tls else 'http'}://localhost{_PATH}",
            ]
        else:
            words.append(f"{facts.gateway.url}{_PATH}")
        words += ["-H", f"Authorization: Bearer {facts.first_key}"]
    return shlex.join([*words, "-H", "Content-Type: application/json", "-d", body])


def _row(label: str, value: str, remark: str = "") -> str:
    return f"  {label:<9}  {value:<28}  {remark}".rstrip()
