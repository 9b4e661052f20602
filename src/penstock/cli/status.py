"""`penstock status`: what runs, and how it is."""

from __future__ import annotations

import msgspec

from penstock.cli import output
from penstock.cli.client import call
from penstock.cli.options import AdminUrlOption, HomeOption, JsonOption, admin
from penstock.cli.rows import read


class _Stack(msgspec.Struct):
    source: str
    version: int
    error: str | None = None
    restart_needed: list[str] = []


class _Gateway(msgspec.Struct):
    listen: list[str]
    ops: str | None = None
    workers: int | None = None


class _Target(msgspec.Struct):
    deployment: str
    weight: float


class _Model(msgspec.Struct):
    name: str
    targets: list[_Target]
    fallback: list[str]


class _Deployment(msgspec.Struct):
    name: str
    provider: str
    model: str
    engine: bool


class _Replica(msgspec.Struct):
    name: str
    state: str
    pid: int
    detail: str


class _Ledger(msgspec.Struct):
    backlog_bytes: int


class _Counters(msgspec.Struct):
    kind: str = "local"
    reachable: bool = True
    detail: str = ""


class _Hosts(msgspec.Struct):
    reporting: int = 0
    silent: int = 0


class _Status(msgspec.Struct):
    """The part of `/admin/v1/status` that is shown."""

    version: str
    uptime_s: float
    stack: _Stack
    gateway: _Gateway
    models: list[_Model]
    deployments: list[_Deployment]
    replicas: list[_Replica]
    ledger: _Ledger
    counters: _Counters = msgspec.field(default_factory=_Counters)
    hosts: _Hosts = msgspec.field(default_factory=_Hosts)


def status(home: HomeOption = None, url: AdminUrlOption = None, as_json: JsonOption = False) -> None:
    """Show the stack in force, its models, and how the replicas are."""
    endpoint = admin(home, url)
    answer = call(endpoint, "GET", "/admin/v1/status")
    if as_json:
        output.emit_json(answer)
        return
    now = read(endpoint, answer, _Status)
    stack = now.stack
    source = output.line(stack.source)
    print(f"penstock {output.line(now.version)}, control up {_span(now.uptime_s)}, stack: {source} v{stack.version}")
    if now.gateway.listen:
        listen, ops = output.line(", ".join(now.gateway.listen)), output.line(now.gateway.ops)
        print(f"gateway {listen}, ops {ops}, workers: {output.line(now.gateway.workers)}")
    if now.ledger.backlog_bytes:
        print(f"ledger {now.ledger.backlog_bytes} bytes behind the journal")
    if now.hosts.reporting or now.hosts.silent:
        print(f"hosts elsewhere: {now.hosts.reporting} report, {now.hosts.silent} silent")
    if not now.counters.reachable:
        output.note(
            f"Limits are not counted, {now.counters.kind} cannot be reached: {output.text(now.counters.detail)}"
        )
    if stack.error:
        output.note(f"The stack file as it is now is not used: {output.text(stack.error)}")
    if stack.restart_needed:
        output.note(f"A restart is needed for: {output.line(', '.join(stack.restart_needed))}")
    print()
    output.emit_table(
        ["MODEL", "TARGETS", "FALLBACK"],
        [(model.name, _targets(model.targets), ", ".join(model.fallback) or "-") for model in now.models],
    )
    print()
    output.emit_table(
        ["DEPLOYMENT", "KIND", "MODEL"],
        [(row.name, "engine" if row.engine else row.provider, row.model) for row in now.deployments],
    )
    if now.replicas:
        print()
        output.emit_table(
            ["REPLICA", "STATE", "PROCESS", "DETAIL"],
            [(row.name, row.state, row.pid or "-", row.detail) for row in now.replicas],
        )


def _targets(targets: list[_Target]) -> str:
    """Write the targets with their weights, unless these are all the same."""
    if len({target.weight for target in targets}) <= 1:
        return ", ".join(target.deployment for target in targets)
    return ", ".join(f"{target.deployment} {target.weight:g}" for target in targets)


def _span(seconds: float) -> str:
    """Write a time in the two largest units it has: `3 d 4 h`, `12 min 5 s`, `8 s`."""
    whole = int(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((index for index, (value, _) in enumerate(parts) if value), len(parts) - 1)
    return " ".join(f"{value} {unit}" for value, unit in parts[first : first + 2])
