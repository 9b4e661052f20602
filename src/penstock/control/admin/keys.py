"""`/admin/v1/keys`: the keys of clients, and of people who may call this API."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Path, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from penstock.control.admin.access import Role, allow
from penstock.control.admin.errors import Refused
from penstock.control.admin.moments import from_ns
from penstock.control.keys import Keys
from penstock.control.reconcile import Reconciler
from penstock.records.keys import Key, KeyKind
from penstock.stack.reader import nearest, shown

_MAX_PAGE = 1000

_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f]*")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _printable(text: str) -> str:
    if not _PRINTABLE.fullmatch(text):
        raise ValueError("must not contain control characters")
    return text


def _tenant(text: str) -> str:
    if not _TENANT.fullmatch(text):
        raise ValueError("has 1 to 64 of: letters, digits, '.', '_', '-'; it starts with a letter or digit")
    return text


_Text = Annotated[str, AfterValidator(_printable)]
_ModelName = Annotated[_Text, Field(min_length=1, max_length=256)]
_KeyId = Annotated[str, Path(min_length=1, max_length=64, description="the public id, as in a listing")]


class NewKey(BaseModel):
    """What a key is to be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: _Text = Field("", max_length=200, description="what it is for, in your words")
    tenant: Annotated[str, AfterValidator(_tenant)] = Field(
        "default", description="whose key it is", json_schema_extra={"pattern": f"^{_TENANT.pattern}$"}
    )
    models: list[_ModelName] | None = Field(
        None, min_length=1, max_length=1000, description="names it may use; null: all"
    )
    kind: KeyKind = Field(KeyKind.CLIENT, strict=False, description="client: the data port; admin: this API")


class KeyView(BaseModel):
    """A key as everybody may see it who may list keys."""

    id: str
    kind: KeyKind
    name: str
    tenant: str
    models: list[str] | None
    created_at: datetime
    revoked_at: datetime | None


class MadeKey(KeyView):
    """A key at the only moment it is shown."""

    key: str = Field(description="shown now and never again")


class KeyList(BaseModel):
    """A page of keys, oldest first."""

    keys: list[KeyView]
    next: str | None = Field(description="`after` of the next page; null on the last one")


def mount(app: FastAPI, keys: Keys, reconciler: Reconciler) -> None:
    """Serve the keys."""
    admins = [allow(Role.ADMIN)]

    @app.post("/admin/v1/keys", status_code=HTTPStatus.CREATED, dependencies=admins, tags=["keys"])
    async def create(wanted: NewKey, response: Response) -> MadeKey:
        """Make a key. It works on the data port when this answers."""
        if wanted.kind is KeyKind.ADMIN and wanted.models is not None:
            raise Refused(HTTPStatus.BAD_REQUEST, "models: an admin key does not call models", "models")
        models = None if wanted.models is None else tuple(dict.fromkeys(wanted.models))
        if models is not None and reconciler.config is not None:
            _check_models(models, reconciler.config.models)
        key, text = await keys.create(wanted.name, wanted.tenant, models, wanted.kind)
        response.headers["cache-control"] = "no-store"
        return MadeKey(**_view(key).model_dump(), key=text)

    @app.get("/admin/v1/keys", dependencies=admins, tags=["keys"])
    async def list_keys(
        limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = _MAX_PAGE,
        after: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
        revoked: Annotated[bool, Query(description="also those that are revoked")] = False,
    ) -> KeyList:
        """List keys, without their secrets."""
        found = await keys.page(limit + 1, after, revoked=revoked)
        shown = found[:limit]
        return KeyList(keys=[_view(key) for key in shown], next=shown[-1].id if len(found) > limit else None)

    @app.get("/admin/v1/keys/{key_id}", dependencies=admins, tags=["keys"])
    async def get(key_id: _KeyId) -> KeyView:
        """Show a key, revoked ones too."""
        key = await keys.get(key_id)
        if key is None:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no key with this id")
        return _view(key)

    @app.delete("/admin/v1/keys/{key_id}", status_code=HTTPStatus.NO_CONTENT, dependencies=admins, tags=["keys"])
    async def revoke(key_id: _KeyId) -> None:
        """Make a key invalid for good."""
        if not await keys.revoke(key_id):
            raise Refused(HTTPStatus.NOT_FOUND, "there is no valid key with this id")


def _check_models(wanted: Iterable[str], served: Collection[str]) -> None:
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
        revoked_at=None if key.revoked_at_ns is None else from_ns(key.revoked_at_ns),
    )
