"""`/admin/v1/tenants`: who shares Penstock, and what each of them may use."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from fastapi import FastAPI, Path
from pydantic import BaseModel, ConfigDict, Field

from penstock.auth.roles import Permission
from penstock.control.admin.access import NO_TENANT, Caller, allow
from penstock.control.admin.errors import Refused
from penstock.control.admin.keys import ModelNames, TenantName, check_models
from penstock.control.admin.moments import from_ns
from penstock.control.keys import Keys
from penstock.control.reconcile import Reconciler
from penstock.records.tenants import Tenant

_TenantId = Annotated[str, Path(min_length=1, max_length=64)]


class NewTenant(BaseModel):
    """What a tenant is to be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: TenantName
    models: ModelNames = None


class TenantChange(BaseModel):
    """What is to be different; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    models: ModelNames = None
    suspended: bool | None = Field(None, description="whether its keys are refused")


class TenantView(BaseModel):
    """A tenant."""

    id: str
    models: list[str] | None = Field(description="names that its keys may use at the most; null: all")
    created_at: datetime
    suspended_at: datetime | None = Field(description="since when its keys are refused; null: they are not")


class TenantList(BaseModel):
    """All tenants, by their names."""

    tenants: list[TenantView]


def mount(app: FastAPI, keys: Keys, reconciler: Reconciler) -> None:
    """Serve the tenants."""

    def visible(caller: Caller, tenant_id: str) -> Tenant:
        tenant = keys.tenants.get(tenant_id)
        if tenant is None or not caller.sees(tenant_id):
            raise Refused(HTTPStatus.NOT_FOUND, NO_TENANT)
        return tenant

    def checked(models: list[str] | None) -> tuple[str, ...] | None:
        if models is not None and reconciler.config is not None:
            check_models(models, reconciler.config.models)
        return None if models is None else tuple(dict.fromkeys(models))

    @app.get("/admin/v1/tenants", tags=["tenants"])
    async def list_tenants(caller: Annotated[Caller, allow(Permission.READ_TENANTS)]) -> TenantList:
        """List the tenants that the caller's key is for."""
        found = sorted(keys.tenants.values(), key=lambda tenant: tenant.id)
        return TenantList(tenants=[_view(tenant) for tenant in found if caller.sees(tenant.id)])

    @app.post(
        "/admin/v1/tenants",
        status_code=HTTPStatus.CREATED,
        dependencies=[allow(Permission.MAKE_TENANTS, everywhere=True)],
        tags=["tenants"],
    )
    async def create(wanted: NewTenant) -> TenantView:
        """Make a tenant. A key for one that there is not makes it too, with all models."""
        tenant = await keys.make_tenant(wanted.id, checked(wanted.models))
        if tenant is None:
            raise Refused(HTTPStatus.CONFLICT, "there is a tenant of this name", "id")
        return _view(tenant)

    @app.get("/admin/v1/tenants/{tenant_id}", tags=["tenants"])
    async def get(caller: Annotated[Caller, allow(Permission.READ_TENANTS)], tenant_id: _TenantId) -> TenantView:
        """Show a tenant."""
        return _view(visible(caller, tenant_id))

    @app.patch("/admin/v1/tenants/{tenant_id}", tags=["tenants"])
    async def change(
        caller: Annotated[Caller, allow(Permission.SUSPEND_TENANTS)], tenant_id: _TenantId, wanted: TenantChange
    ) -> TenantView:
        """Change what a tenant may use. It is in force when this answers."""
        visible(caller, tenant_id)
        if caller.tenant is not None:
            raise Refused(HTTPStatus.FORBIDDEN, f"this key is for the tenant {caller.tenant}, and does not change it")
        if "models" in wanted.model_fields_set and not caller.may(Permission.MAKE_TENANTS):
            raise Refused(HTTPStatus.FORBIDDEN, f"the role {caller.role} may suspend tenants and no more", "models")
        models, now_ns = checked(wanted.models), keys.now_ns()
        return _view(await keys.change_tenant(tenant_id, lambda tenant: _changed(tenant, wanted, models, now_ns)))


def _changed(tenant: Tenant, wanted: TenantChange, models: tuple[str, ...] | None, now_ns: int) -> Tenant:
    if "models" in wanted.model_fields_set:
        tenant = msgspec.structs.replace(tenant, models=models)
    if wanted.suspended is not None and wanted.suspended != (tenant.suspended_at_ns is not None):
        tenant = msgspec.structs.replace(tenant, suspended_at_ns=now_ns if wanted.suspended else None)
    return tenant


def _view(tenant: Tenant) -> TenantView:
    return TenantView(
        id=tenant.id,
        models=None if tenant.models is None else list(tenant.models),
        created_at=from_ns(tenant.created_at_ns),
        suspended_at=None if tenant.suspended_at_ns is None else from_ns(tenant.suspended_at_ns),
    )
