"""The desired state, parsed and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.stack.deployments import Engine, Provider
from penstock.stack.effective import Effective
from penstock.stack.policies import Policy
from penstock.stack.prices import Priced
from penstock.stack.problem import Problem
from penstock.stack.resolve import Origin
from penstock.stack.schema import Admin, Gateway, Model, State


class Stack(msgspec.Struct, frozen=True):
    """
    A stack that can be put in force. Shared freely.

    Attributes:
        path: the file it was read from, absolute, or None for the built-in stack.
        file: the file's name as the user gave it, for messages.
        gateway, admin, state: settings of the processes.
        deployments, models, policies: by name, in the order of the file; read-only.
        prices: of each deployment, by its name.
        effective: every value in force, in the order of the schema.
        warnings: what is doubtful but no reason to refuse the file.
    """

    path: Path | None
    file: str
    gateway: Gateway
    admin: Admin
    state: State
    deployments: Mapping[str, Engine | Provider]
    models: Mapping[str, Model]
    policies: Mapping[str, Policy]
    prices: Mapping[str, Priced]
    effective: tuple[Effective, ...]
    warnings: tuple[Problem, ...]

    @property
    def origin(self) -> dict[str, Origin]:
        """Where each value comes from, by its path (`deployments.mini.price.input`)."""
        return {value.path: value.origin for value in self.effective}
