"""Engines: what control wants (`Desired`) and what the node has (`Fleet`)."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class EngineSpec(msgspec.Struct, frozen=True):
    """
    An engine deployment as the node is to run it. A changed spec is a new version, which replaces the old one only
    when it is ready.

    Attributes:
        version: hash of everything below but `replicas`; 8 hex digits.
        engine: the name in `penstock.node.engines.ENGINES`.
        weights: absolute path of the weights file.
        context: tokens per sequence.
        parallel: sequences decoded together.
        threads: CPU threads, or None for the engine's choice.
    """

    deployment: str
    version: str
    engine: str
    weights: str
    replicas: int
    context: int
    parallel: int
    threads: int | None = None


class Desired(msgspec.Struct, frozen=True):
    """The engines this host is to run. `version` grows with each change."""

    version: int
    engines: tuple[EngineSpec, ...]


class ReplicaState(StrEnum):
    """Where a replica is in its life. Only `READY` ones get new exchanges."""

    STARTING = "starting"
    READY = "ready"
    WEDGED = "wedged"
    DRAINING = "draining"
    FAILED = "failed"  # cannot run as specified (bad weights), or waiting to be tried again


class Replica(msgspec.Struct, frozen=True):
    """
    One running copy of an engine deployment.

    Attributes:
        name: `mini/0`.
        socket: path of the Unix socket it answers on.
        generation: grows with each process started for this replica, so that a restarted one is not taken for the old.
        detail: one sentence on why it is not ready, if it is not.
    """

    name: str
    deployment: str
    version: str
    state: ReplicaState
    socket: str
    generation: int
    pid: int = 0
    detail: str = ""


class Fleet(msgspec.Struct, frozen=True):
    """The replicas of this host. `version` grows with each change."""

    version: int
    replicas: tuple[Replica, ...]
