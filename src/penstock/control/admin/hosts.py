"""`/admin/v1/hosts`: hosts elsewhere with gateways, which take what control publishes and send it their journals."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from fastapi import FastAPI, Path, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from penstock.auth.roles import Permission
from penstock.control.admin.access import Caller, allow
from penstock.control.admin.errors import Refused
from penstock.control.admin.moments import from_ns
from penstock.control.bulletin import Bulletin, Unwelcome
from penstock.control.hosts import Hosts
from penstock.journal.shipping import Report
from penstock.records.hosts import Host

_NONE = "there is no host of this name"
_MSGPACK = "application/msgpack"
_LONGEST_S = 30.0

_HostId = Annotated[str, Path(pattern="^[0-9a-f]{12}$")]
_Tag = Annotated[str, Query(max_length=32)]

_decode = msgspec.msgpack.Decoder(Report).decode
_encode = msgspec.msgpack.Encoder().encode


class HostView(BaseModel):
    """A host whose gateways write into this ledger."""

    id: str
    name: str
    version: str = Field(description="of its Penstock")
    own: bool = Field(description="whether it is the one that this control is on")
    started_at: datetime = Field(description="its node")
    silent_s: float = Field(description="since it last reported; it does so at least every two seconds")
    segments: int = Field(description="files of its journal that are not in the ledger to their end")


class HostList(BaseModel):
    """All hosts, by their names."""

    hosts: list[HostView]


def mount(app: FastAPI, hosts: Hosts, bulletin: Bulletin) -> None:
    """Serve the hosts."""

    @app.get("/admin/v1/hosts", dependencies=[allow(Permission.READ_STATUS, everywhere=True)], tags=["hosts"])
    async def list_hosts() -> HostList:
        """List the hosts."""
        return HostList(hosts=[_view(hosts, host) for host in hosts.known.values()])

    @app.delete(
        "/admin/v1/hosts/{host_id}",
        status_code=HTTPStatus.NO_CONTENT,
        dependencies=[allow(Permission.FORGET_HOSTS, everywhere=True)],
        tags=["hosts"],
    )
    async def forget(host_id: _HostId) -> None:
        """Forget a host that will not come again. What it had in progress is lost, and charged nothing."""
        try:
            found = await hosts.forget(host_id)
        except Unwelcome as error:
            raise Refused(HTTPStatus.CONFLICT, str(error)) from None
        if not found:
            raise Refused(HTTPStatus.NOT_FOUND, _NONE)

    @app.get(
        "/admin/v1/snapshot",
        dependencies=[allow(Permission.JOIN, everywhere=True)],
        include_in_schema=False,  # for Penstock itself, and in no format for others
    )
    async def snapshot(
        check: Annotated[str, Query(max_length=64)],
        config: _Tag = "",
        principals: _Tag = "",
        base: _Tag = "",
        wait_s: Annotated[float, Query(ge=0, le=_LONGEST_S)] = 0.0,
    ) -> Response:
        """Return the documents that a host does not have, once there are some."""
        have = {"config": config, "principals": principals, "base": base}
        try:
            bundle = await bulletin.news(check, have, wait_s)
        except Unwelcome as error:
            raise Refused(HTTPStatus.CONFLICT, str(error)) from None
        return Response(_encode(bundle), media_type=_MSGPACK)

    @app.post(
        "/admin/v1/hosts/{host_id}/report",
        include_in_schema=False,
    )
    async def report(
        caller: Annotated[Caller, allow(Permission.JOIN, everywhere=True)], host_id: _HostId, request: Request
    ) -> Response:
        """Take what a host tells of its journal."""
        try:
            told = _decode(await request.body())
        except msgspec.DecodeError as error:
            raise Refused(HTTPStatus.BAD_REQUEST, f"this is not a report: {error}") from None
        except ClientDisconnect:
            raise Refused(HTTPStatus.BAD_REQUEST, "the report was cut off") from None
        try:
            receipt = await hosts.report(host_id, told, caller.name)
        except Unwelcome as error:
            raise Refused(HTTPStatus.CONFLICT, str(error)) from None
        return Response(_encode(receipt), media_type=_MSGPACK)


def _view(hosts: Hosts, host: Host) -> HostView:
    return HostView(
        id=host.id,
        name=host.name,
        version=host.version,
        own=host.id == hosts.own,
        started_at=from_ns(host.run),
        silent_s=round(hosts.silent_s(host), 1),
        segments=hosts.segments(host),
    )
