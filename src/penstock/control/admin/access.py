"""
Who may call the admin API.

A `Door` stands in front of the application, one for each listening socket. It finds out who calls before anything of
the request's body is read; a route says by `allow` which roles may call it. Over the Unix socket, which only the
machine's own user may open, no key is needed.
"""

from __future__ import annotations

import hmac
import socket
from collections.abc import Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Annotated

import msgspec
from fastapi import Depends, Request, params
from fastapi.security import HTTPBearer
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penstock.auth.roles import PERMISSIONS, Permission, Role
from penstock.control.admin.errors import Refused, failed, refusal
from penstock.control.keys import Keys
from penstock.records.keys import ALL_TENANTS
from penstock.types.errors import StartError

VARIABLE = "PENSTOCK_ADMIN_KEY"
MAX_BODY = 2 * 1024 * 1024  # a report of a host's journal is the largest

_SHORTEST_KEY = 16  # characters
_CALLER = "penstock.caller"


class Caller(msgspec.Struct, frozen=True):
    """
    Who calls.

    Attributes:
        name: a key's id; `local` on the Unix socket; the variable's name for the key set by it.
        role: None for who has a key for the data port.
        tenant: the one tenant that it is for; None for all.
        expires_at_ns: when the key ends, nanoseconds since the epoch; None for never.
    """

    name: str
    role: Role | None
    tenant: str | None = None
    expires_at_ns: int | None = None

    def may(self, permission: Permission) -> bool:
        """Tell whether this may be done, where it is done in a tenant of the caller's."""
        return self.role is not None and permission in PERMISSIONS[self.role]

    def sees(self, tenant: str) -> bool:
        """Tell whether what belongs to this tenant exists for the caller."""
        return self.tenant is None or self.tenant == tenant

    def narrowed(self, tenant: str | None) -> str | None:
        """
        Return the tenant to show, where the caller asks for one or for all.

        Raises:
            Refused: it does not exist for the caller.
        """
        if tenant is not None and not self.sees(tenant):
            raise Refused(HTTPStatus.NOT_FOUND, NO_TENANT, "tenant")
        return self.tenant if tenant is None else tenant


NO_TENANT = "there is no tenant of this name"
_LOCAL = Caller("local", Role.ADMIN)
# For the OpenAPI document; `Door` is what checks.
_BEARER = HTTPBearer(
    auto_error=False, scheme_name="admin key", description="`sk-psadmin-…`; the Unix socket needs none"
)


def allow(permission: Permission | None, *, everywhere: bool = False) -> params.Depends:
    """
    Return the dependency with which a route names what its caller must be allowed, and gets to know the caller.

    Args:
        permission: None for what everybody with a key for this API may do.
        everywhere: it is about all tenants, so a key for one of them is not enough.
    """

    def check(request: Request, _key: Annotated[object, Depends(_BEARER)]) -> Caller:
        caller: Caller = request.scope[_CALLER]
        if caller.role is None:
            raise Refused(HTTPStatus.FORBIDDEN, "this key is for the data port; the admin API needs an admin key")
        if permission is not None and not caller.may(permission):
            raise Refused(
                HTTPStatus.FORBIDDEN, f"the role of this key is {caller.role}, which may not {_said(permission)}"
            )
        if everywhere and caller.tenant is not None:
            raise Refused(
                HTTPStatus.FORBIDDEN, f"this key is for the tenant {caller.tenant}; this is about all of them"
            )
        return caller

    return params.Depends(dependency=check)


def _said(permission: Permission) -> str:
    return permission.replace("_", " ")


def key_from(environ: Mapping[str, str]) -> str | None:
    """
    Return the admin key that the environment sets; None when the variable is not set or empty.

    Raises:
        StartError: it is short enough to be guessed.
    """
    key = environ.get(VARIABLE, "").strip()
    if key and len(key) < _SHORTEST_KEY:
        raise StartError(f"{VARIABLE} is shorter than {_SHORTEST_KEY} characters")
    return key or None


class Credentials:
    """
    Knows every key. Made once per control; shared.

    Args:
        first_key: the admin key that the environment sets (`key_from`), or None.
    """

    def __init__(self, keys: Keys, first_key: str | None) -> None:
        self._keys = keys
        self._first_key = first_key.encode() if first_key is not None else None

    async def caller(self, authorization: str) -> Caller | None:
        """Return who presents this `Authorization` value, or None when it holds no valid key."""
        scheme, _, presented = authorization.partition(" ")
        presented = presented.strip()
        if scheme.lower() != "bearer" or not presented:
            return None
        if self._first_key is not None and hmac.compare_digest(
            presented.encode("latin-1"),
            self._first_key,  # headers come decoded so
        ):
            return Caller(VARIABLE, Role.ADMIN)
        key = await self._keys.authenticate(presented)
        if key is None:
            return None
        return Caller(key.id, key.role, None if key.tenant == ALL_TENANTS else key.tenant, key.expires_at_ns)


class Door:
    """
    The way in from one listening socket, as an ASGI application around another.

    Args:
        credentials: who is let in; None for the Unix socket, where everybody is the machine's own user.
        hosts: names by which the port may be called; None: any.
    """

    def __init__(self, app: ASGIApp, credentials: Credentials | None, hosts: frozenset[str] | None = None) -> None:
        self._app = app
        self._credentials = credentials
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        assert scope["type"] == "http"  # the server runs without lifespan and WebSockets
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            if "\0" in scope["path"] or b"%00" in scope["query_string"]:  # which not every database can look for
                raise Refused(HTTPStatus.BAD_REQUEST, "the address must not contain NUL")
            caller = await self._identify(headers)
            receive = _bounded(headers, receive)
        except Refused as error:
            await refusal(error)(scope, receive, send)
            return
        except SQLAlchemyError as error:
            await failed(error)(scope, receive, send)
            return
        # Every body here is JSON; `curl -d` calls it a form unless it is told otherwise.
        headers_as_json = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        headers_as_json.append((b"content-type", b"application/json"))
        await self._app({**scope, "headers": headers_as_json, _CALLER: caller}, receive, send)

    def _check_host(self, headers: Headers) -> None:
        """Refuse names we do not go by: a web page may have its own name resolve to this machine (DNS rebinding)."""
        if self._hosts is not None and _host_name(headers.get("host", "")) not in self._hosts:
            raise Refused(HTTPStatus.MISDIRECTED_REQUEST, "the admin API is not served under this Host")

    async def _identify(self, headers: Headers) -> Caller:
        if self._credentials is None:
            return _LOCAL
        authorization = headers.get("authorization")
        if authorization is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "an admin key is needed, as `Authorization: Bearer sk-psadmin-…`")
        caller = await self._credentials.caller(authorization)
        if caller is None:
            raise Refused(HTTPStatus.UNAUTHORIZED, "this admin key is not valid")
        return caller


def hosts_of(listener: socket.socket) -> frozenset[str] | None:
    """Return the names by which a listener may be called: a few on loopback, any elsewhere (None)."""
    if listener.family == socket.AF_UNIX:
        return None
    address = str(listener.getsockname()[0])
    if not ip_address(address).is_loopback:
        return None
    return frozenset({"localhost", "127.0.0.1", "[::1]", f"[{address}]" if ":" in address else address})


def _host_name(header: str) -> str:
    """Return a Host header without its port, in lower case."""
    name, separator, port = header.rpartition(":")
    return (name if separator and port.isdecimal() else header).lower()


def _bounded(headers: Headers, receive: Receive) -> Receive:
    """Return `receive` with a bound on the body. Raises `Refused` at once when the client announces a larger one."""
    too_large = Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is over {MAX_BODY} bytes")
    length = headers.get("content-length", "0")
    if length.isdecimal() and int(length) > MAX_BODY:
        raise too_large
    left = MAX_BODY

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise too_large
        return message

    return bounded
