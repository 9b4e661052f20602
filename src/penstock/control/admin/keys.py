"""`/admin/v1/keys`: the keys of clients, and of people who may call this API."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import FastAPI, Path, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from penstock.auth.roles import Permission, Role
from penstock.control.admin.access import NO_TENANT, Caller, allow
from penstock.control.admin.errors import Refused
from penstock.control.admin.moments import from_ns, to_ns
from penstock.control.keys import Keys, Scope
from penstock.control.reconcile import Reconciler
from penstock.records.keys import ALL_TENANTS, Key, KeyKind
from penstock.stack.reader import nearest, shown
from penstock.types.operation import Operation

_MAX_PAGE = 1000
_DEFAULT_TENANT = "default"

T = TypeVar("T")

_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]*")
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,127}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _printable(text: str) -> str:
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("must not contain control characters")
    return text


def _tenant(text: str) -> str:
    if not _TENANT.fullmatch(text):
        raise ValueError("has 1 to 64 of: letters, digits, '.', '_', '-'; it starts with a letter or digit")
    return text


def _user(text: str) -> str:
    if text and not _USER.fullmatch(text):
        raise ValueError("has 1 to 128 of: letters, digits, '.', '_', '-', '+', '@'; it starts with a letter or digit")
    return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("is no network, such as 10.0.0.0/8 or 2001:db8::/32, or an address") from None


_Text = Annotated[str, AfterValidator(_printable)]
_ModelName = Annotated[_Text, Field(min_length=1, max_length=256)]
ModelNames = Annotated[
    list[_ModelName] | None, Field(min_length=1, max_length=1000, description="names it may use; null: all")
]
UserName = Annotated[str, AfterValidator(_user)]
TenantName = Annotated[str, AfterValidator(_tenant), Field(json_schema_extra={"pattern": f"^{_TENANT.pattern}$"})]
_KeyId = Annotated[str, Path(min_length=1, max_length=64, description="the public id, as in a listing")]


class NewKey(BaseModel):
    """What a key is to be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: _Text = Field("", max_length=200, description="what it is for, in your words")
    tenant: TenantName | None = Field(
        None, description="whose key it is; null: `default`, or for an admin key all tenants, or the caller's own"
    )
    user: UserName = Field("", description="which user's key it is; limits may count all keys of a user together")
    models: ModelNames = None
    kind: KeyKind = Field(KeyKind.CLIENT, strict=False, description="client: the data port; admin: this API")
    role: Role | None = Field(None, strict=False, description="of an admin key; null: admin")
    operations: list[Annotated[Operation, Field(strict=False)]] | None = Field(
        None, min_length=1, max_length=16, description="what a client may call models for; null: everything"
    )
    networks: list[Annotated[str, AfterValidator(_network)]] | None = Field(
        None,
        min_length=1,
        max_length=100,
        description="where a client may call from, such as 10.0.0.0/8; null: everywhere",
    )
    expires_at: Annotated[datetime, Field(strict=False)] | None = Field(
        None, description="from when on it is not valid; UTC without a zone; null: never"
    )

    @model_validator(mode="after")
    def _fits(self) -> NewKey:
        if self.kind is KeyKind.CLIENT and self.role is not None:
            raise ValueError("role: only an admin key has one")
        for name in ("models", "operations", "networks"):
            if self.kind is KeyKind.ADMIN and getattr(self, name) is not None:
                raise ValueError(f"{name}: an admin key does not call models")
        return self


class Rotation(BaseModel):
    """How a key is replaced."""

    model_config = ConfigDict(extra="forbid", strict=True)

    overlap_s: float = Field(86_400, ge=0, le=366 * 86_400, description="seconds for which the old one is valid too")


class KeyView(BaseModel):
    """A key as everybody may see it who may list keys."""

    id: str
    kind: KeyKind
    name: str
    tenant: str = Field(description="`*` for an admin key that is for all tenants")
    user: str = Field(description="empty for a key of nobody's")
    role: Role | None
    models: list[str] | None
    operations: list[Operation] | None
    networks: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    counts_as: str = Field(description="the id that limits and the ledger know it by")


class MadeKey(KeyView):
    """A key at the only moment it is shown."""

    key: str = Field(description="shown now and never again")
    new_tenant: bool = Field(default=False, description="there was no such tenant before; it may use all models")


class KeyList(BaseModel):
    """A page of keys, oldest first."""

    keys: list[KeyView]
    next: str | None = Field(description="`after` of the next page; null on the last one")


def mount(app: FastAPI, keys: Keys, reconciler: Reconciler) -> None:
    """Serve the keys."""

    @app.post("/admin/v1/keys", status_code=HTTPStatus.CREATED, tags=["keys"])
    async def create(
        caller: Annotated[Caller, allow(Permission.MAKE_KEYS)], wanted: NewKey, response: Response
    ) -> MadeKey:
        """Make a key. It works on the data port when this answers."""
        scope = _scope(wanted, caller, keys.tenants)
        if scope.models is not None and reconciler.config is not None:
            check_models(scope.models, reconciler.config.models)
        if scope.expires_at_ns is not None and scope.expires_at_ns <= keys.now_ns():
            raise Refused(HTTPStatus.BAD_REQUEST, "expires_at: is not in the future", "expires_at")
        new_tenant = scope.tenant not in (*keys.tenants, ALL_TENANTS, _DEFAULT_TENANT)
        key, text = await keys.create(wanted.name, scope)
        response.headers["cache-control"] = "no-store"
        return MadeKey(**_view(key).model_dump(), key=text, new_tenant=new_tenant)

    @app.get("/admin/v1/keys", tags=["keys"])
    async def list_keys(
        caller: Annotated[Caller, allow(Permission.READ_KEYS)],
        limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = _MAX_PAGE,
        after: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
        revoked: Annotated[bool, Query(description="also those that are revoked or have ended")] = False,
        tenant: Annotated[str | None, Query(max_length=64, description="only of this tenant")] = None,
    ) -> KeyList:
        """List keys, without their secrets."""
        found = await keys.page(limit + 1, after, revoked=revoked, tenant=caller.narrowed(tenant))
        shown = found[:limit]
        return KeyList(keys=[_view(key) for key in shown], next=shown[-1].id if len(found) > limit else None)

    async def visible(caller: Caller, key_id: str) -> Key:
        key = await keys.get(key_id)
        if key is None or not caller.sees(key.tenant):
            raise Refused(HTTPStatus.NOT_FOUND, "there is no key with this id")
        return key

    async def changeable(caller: Caller, key_id: str) -> Key:
        key = await visible(caller, key_id)
        if key.kind is KeyKind.ADMIN and not caller.may(Permission.MAKE_ROLES):
            raise Refused(HTTPStatus.FORBIDDEN, f"the role {caller.role} may not change admin keys")
        return key

    @app.get("/admin/v1/keys/{key_id}", tags=["keys"])
    async def get(caller: Annotated[Caller, allow(Permission.READ_KEYS)], key_id: _KeyId) -> KeyView:
        """Show a key, revoked ones too."""
        return _view(await visible(caller, key_id))

    @app.post("/admin/v1/keys/{key_id}/rotate", status_code=HTTPStatus.CREATED, tags=["keys"])
    async def rotate(
        caller: Annotated[Caller, allow(Permission.MAKE_KEYS)], key_id: _KeyId, how: Rotation, response: Response
    ) -> MadeKey:
        """Make a key in place of another, with the same limits and budgets; for a while both are valid."""
        await changeable(caller, key_id)
        made = await keys.rotate(key_id, keys.now_ns() + int(how.overlap_s * 1e9))
        if made is None:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no valid key with this id")
        response.headers["cache-control"] = "no-store"
        return MadeKey(**_view(made[0]).model_dump(), key=made[1])

    @app.delete("/admin/v1/keys/{key_id}", status_code=HTTPStatus.NO_CONTENT, tags=["keys"])
    async def revoke(caller: Annotated[Caller, allow(Permission.REVOKE_KEYS)], key_id: _KeyId) -> None:
        """Make a key invalid for good."""
        await changeable(caller, key_id)
        if not await keys.revoke(key_id):
            raise Refused(HTTPStatus.NOT_FOUND, "there is no valid key with this id")


def _scope(wanted: NewKey, caller: Caller, tenants: Collection[str]) -> Scope:
    """
    Return what a new key is to be for, which is never more than what its maker may do.

    Raises:
        Refused: it would be.
    """
    is_admin = wanted.kind is KeyKind.ADMIN
    if is_admin and not caller.may(Permission.MAKE_ROLES):
        raise Refused(HTTPStatus.FORBIDDEN, f"the role {caller.role} may not make admin keys", "kind")
    tenant = wanted.tenant or caller.tenant or (ALL_TENANTS if is_admin else _DEFAULT_TENANT)
    if not caller.sees(tenant):
        raise Refused(HTTPStatus.NOT_FOUND, NO_TENANT, "tenant")
    if wanted.role is Role.GATEWAY and tenant != ALL_TENANTS:
        raise Refused(HTTPStatus.BAD_REQUEST, "a host with gateways serves all tenants; leave out the tenant", "tenant")
    if tenant not in (*tenants, caller.tenant, ALL_TENANTS, _DEFAULT_TENANT) and not caller.may(
        Permission.MAKE_TENANTS
    ):
        raise Refused(HTTPStatus.NOT_FOUND, NO_TENANT, "tenant")
    ends = None if wanted.expires_at is None else to_ns(wanted.expires_at)
    if is_admin and caller.expires_at_ns is not None:
        ends = caller.expires_at_ns if ends is None else min(ends, caller.expires_at_ns)
    return Scope(
        tenant=tenant,
        models=_distinct(wanted.models),
        role=(wanted.role or Role.ADMIN) if is_admin else None,
        operations=_distinct(wanted.operations),
        networks=_distinct(wanted.networks),
        expires_at_ns=ends,
        user=wanted.user,
    )


def _distinct(items: Iterable[T] | None) -> tuple[T, ...] | None:
    return None if items is None else tuple(dict.fromkeys(items))


def check_models(wanted: Iterable[str], served: Collection[str]) -> None:
    """Refuse a model that the stack in force does not have: it is most likely misspelt."""
    for name in wanted:
        if name not in served:
            text = f"models: there is no model {shown(name)} in the stack{nearest(name, served)}"
            raise Refused(HTTPStatus.BAD_REQUEST, text, "models")


def _view(key: Key) -> KeyView:
    return KeyView(
        id=key.id,
        kind=key.kind,
        name=key.name,
        tenant=key.tenant,
        models=None if key.models is None else list(key.models),
        created_at=from_ns(key.created_at_ns),
        user=key.owner,
        role=key.role,
        operations=None if key.operations is None else list(key.operations),
        networks=None if key.networks is None else list(key.networks),
        expires_at=None if key.expires_at_ns is None else from_ns(key.expires_at_ns),
        revoked_at=None if key.revoked_at_ns is None else from_ns(key.revoked_at_ns),
        counts_as=key.lineage or key.id,
    )
