"""The admin application: every resource in one place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from penstock import __version__
from penstock.control.admin import backup, errors, hosts, keys, requests, status, tenants, usage
from penstock.control.admin.access import allow
from penstock.control.bulletin import Bulletin
from penstock.control.fold import Fold
from penstock.control.hosts import Hosts
from penstock.control.keys import Keys
from penstock.control.reconcile import Reconciler
from penstock.records.database import Database
from penstock.types.home import Home


@dataclass(frozen=True)
class Parts:
    """
    What the routes are about.

    Attributes:
        source: what the stack comes from, for people.
        secret: what keys are hashed under, for backups; empty where the user keeps it.
        counters_problem: says why the counters that the stack names cannot be reached, or nothing.
    """

    home: Home
    source: str
    database: Database
    keys: Keys
    fold: Fold
    reconciler: Reconciler
    hosts: Hosts
    bulletin: Bulletin
    secret: bytes = b""
    counters_problem: Callable[[], str] = str


def build(parts: Parts) -> FastAPI:
    """
    Return the application; `access.Door` stands in front of it.

    The framework's own documentation pages are off: they load their assets from elsewhere.
    """
    app = FastAPI(
        title="Penstock admin API",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": {"model": errors.ErrorBody, "description": "The request is refused."}},
    )
    errors.install(app)
    database, fold, reconciler = parts.database, parts.fold, parts.reconciler
    keys.mount(app, parts.keys, reconciler)
    tenants.mount(app, parts.keys, reconciler)
    usage.mount(app, database, fold)
    requests.mount(app, database, fold)
    status.mount(app, parts.home, parts.source, reconciler, fold, parts.hosts, parts.counters_problem)
    hosts.mount(app, parts.hosts, parts.bulletin)
    backup.mount(app, database, fold, parts.secret)

    @app.get("/admin/v1/openapi.json", dependencies=[allow(None)], include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return app.openapi()

    return app
