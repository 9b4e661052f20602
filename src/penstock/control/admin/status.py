"""`/admin/v1/status`: what is wanted, what runs, and how they differ."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel, Field

from penstock import __version__
from penstock.auth.roles import Permission
from penstock.control.admin.access import allow
from penstock.control.fold import Fold
from penstock.control.hosts import Hosts
from penstock.control.reconcile import Reconciler
from penstock.snapshot.config import Config, Deployment, Model
from penstock.snapshot.file import Reader, UnknownFormat
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.types.home import Home


class StackView(BaseModel):
    """The stack in force."""

    source: str = Field(description="path of the file, or `built-in`")
    version: int = Field(description="grows with each change that took effect; 0 before the first")
    error: str | None = Field(description="why the file as it is now is not used; the version before stays")
    restart_needed: list[str] = Field(description="changed settings that take effect only after a restart")


class GatewayView(BaseModel):
    """The data plane on this host."""

    listen: list[str]
    ops: str | None
    workers: int | None


class TargetView(BaseModel):
    """A deployment that a model may be answered by."""

    deployment: str
    weight: float


class ModelView(BaseModel):
    """A name that clients ask for."""

    name: str
    targets: list[TargetView]
    fallback: list[str]


class DeploymentView(BaseModel):
    """Something that answers."""

    name: str
    provider: str
    model: str
    engine: bool = Field(description="whether Penstock runs it")
    seats: int = Field(description="exchanges at once: of each replica, or in all for a hosted model")
    queue: int = Field(description="exchanges that may wait for a seat, likewise")


class ReplicaView(BaseModel):
    """One running copy of an engine deployment."""

    name: str
    deployment: str
    version: str
    state: ReplicaState
    generation: int
    pid: int
    detail: str


class LedgerView(BaseModel):
    """How far the ledger is behind the journal."""

    segments: int
    backlog_bytes: int


class CountersView(BaseModel):
    """Where limits are counted."""

    kind: str = Field(description="`local`: by the node of each host; `redis`")
    reachable: bool = Field(description="for control; gateways say it in `x-penstock-counters` and in metrics")
    detail: str = Field(description="why not, or empty")


class HostsView(BaseModel):
    """Hosts elsewhere whose gateways serve the same."""

    reporting: int
    silent: int = Field(description="which have not reported for ten seconds")


class ProcessesView(BaseModel):
    """Process ids, as far as control knows them."""

    control: int
    node: int | None


class StatusView(BaseModel):
    """What is wanted, what runs, and how they differ."""

    version: str
    uptime_s: float = Field(description="of control")
    stack: StackView
    gateway: GatewayView
    models: list[ModelView]
    deployments: list[DeploymentView]
    replicas: list[ReplicaView]
    ledger: LedgerView
    counters: CountersView
    hosts: HostsView
    processes: ProcessesView


class Fleets:
    """Follows the node's `Fleet` document. Shared by the requests of one control."""

    def __init__(self, directory: Path) -> None:
        self._reader = Reader(directory, Fleet)
        self._replicas: tuple[Replica, ...] = ()

    def replicas(self) -> tuple[Replica, ...]:
        """Return the replicas that the node last told of."""
        try:
            fleet = self._reader.changed()
        except UnknownFormat:
            return self._replicas
        if fleet is not None:
            self._replicas = fleet.replicas
        return self._replicas


def mount(
    app: FastAPI,
    home: Home,
    source: str,
    reconciler: Reconciler,
    fold: Fold,
    hosts: Hosts,
    counters_problem: Callable[[], str],
) -> None:
    """Serve the status."""
    started = time.monotonic()
    fleets = Fleets(home.snapshot)

    @app.get("/admin/v1/status", dependencies=[allow(Permission.READ_STATUS, everywhere=True)], tags=["status"])
    async def status() -> StatusView:
        """Show the stack in force, its models and deployments, the replicas, and the ledger's backlog."""
        config = reconciler.config
        segments, backlog = fold.backlog()
        return StatusView(
            version=__version__,
            uptime_s=round(time.monotonic() - started, 3),
            stack=StackView(
                source=source,
                version=config.version if config is not None else 0,
                error=reconciler.error or None,
                restart_needed=reconciler.restart_needed(),
            ),
            gateway=_gateway(reconciler),
            models=[_model(model) for model in _models(config)],
            deployments=[_deployment(deployment) for deployment in _deployments(config)],
            replicas=[_replica(replica) for replica in fleets.replicas()],
            ledger=LedgerView(segments=segments, backlog_bytes=backlog),
            counters=_counters(config, counters_problem()),
            hosts=_hosts(hosts),
            processes=ProcessesView(control=os.getpid(), node=_node(home)),
        )


def _counters(config: Config | None, problem: str) -> CountersView:
    kind = "redis" if config is not None and config.gateway.counters is not None else "local"
    return CountersView(kind=kind, reachable=not problem, detail=problem)


def _hosts(hosts: Hosts) -> HostsView:
    silent = [hosts.silent(host) for host in hosts.known.values() if host.id != hosts.own]
    return HostsView(reporting=len(silent) - sum(silent), silent=sum(silent))


def _gateway(reconciler: Reconciler) -> GatewayView:
    running = reconciler.running
    workers = running.get("gateway.workers")
    listen = running.get("gateway.listen")
    return GatewayView(
        listen=[] if listen is None else [listen],
        ops=running.get("gateway.ops"),
        workers=None if workers is None else int(workers),
    )


def _models(config: Config | None) -> list[Model]:
    return list(config.models.values()) if config is not None else []


def _deployments(config: Config | None) -> list[Deployment]:
    return list(config.deployments.values()) if config is not None else []


def _model(model: Model) -> ModelView:
    targets = [TargetView(deployment=target.deployment, weight=target.weight) for target in model.targets]
    return ModelView(name=model.name, targets=targets, fallback=list(model.fallback))


def _deployment(deployment: Deployment) -> DeploymentView:
    return DeploymentView(
        name=deployment.name,
        provider=deployment.provider,
        model=deployment.model,
        engine=deployment.engine,
        seats=deployment.seats,
        queue=deployment.queue,
    )


def _replica(replica: Replica) -> ReplicaView:
    return ReplicaView(
        name=replica.name,
        deployment=replica.deployment,
        version=replica.version,
        state=replica.state,
        generation=replica.generation,
        pid=replica.pid,
        detail=replica.detail,
    )


def _node(home: Home) -> int | None:
    try:
        return int(home.node_lock.read_text())
    except (OSError, ValueError):
        return None  # no node runs here
