"""The admin application: every resource in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from penstock import __version__
from penstock.control.admin import backup, errors, hosts, keys, requests, status, tenants, usage
from penstock.control.admin.access import allow
from penstock.control.fold import Fold
from penstock.control.hosts import Hosts
from penstock.control.keys import Keys
from penstock.control.reconcile import Reconciler
from penstock.records.database import Database
from penstock.types.home import Home


def build(
    home: Home,
    source: str,
    database: Database,
    key_store: Keys,
    fold: Fold,
    reconciler: Reconciler,
    host_store: Hosts,
    secret: bytes = b"",
    counters_problem: Callable[[], str] = str,
) -> FastAPI:
    """
    Return the application; `access.Door` stands in front of it.

    The framework's own documentation pages are off: they load their assets from elsewhere.

    Args:
        source: what the stack comes from, for people.
        secret: what keys are hashed under, for backups; empty where the user keeps it.
        counters_problem: says why the counters that the stack names cannot be reached, or nothing.
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
    keys.mount(app, key_store, reconciler)
    tenants.mount(app, key_store, reconciler)
    usage.mount(app, database, fold)
    requests.mount(app, database, fold)
    status.mount(app, home, source, reconciler, fold, host_store, counters_problem)
    hosts.mount(app, host_store)
    backup.mount(app, database, fold, secret)

    @app.get("/admin/v1/openapi.json", dependencies=[allow(None)], include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        return app.openapi()

    return app
