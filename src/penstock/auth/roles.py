"""Roles: what the holder of a key for the admin API may do. One table; every route names what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Role(StrEnum):
    """What somebody is."""

    ADMIN = "admin"  # does everything
    OPERATOR = "operator"  # sees everything, and stops what does harm
    AUDITOR = "auditor"  # sees everything
    DEVELOPER = "developer"  # makes keys and looks into requests
    VIEWER = "viewer"  # sees how things are and what they cost
    GATEWAY = "gateway"  # a host whose gateways take what control publishes, and send it their journal


class Permission(StrEnum):
    """What a route of the admin API needs."""

    READ_STATUS = "read_status"
    READ_USAGE = "read_usage"
    READ_REQUESTS = "read_requests"
    READ_KEYS = "read_keys"
    MAKE_KEYS = "make_keys"  # of clients
    MAKE_ROLES = "make_roles"  # keys for the admin API
    REVOKE_KEYS = "revoke_keys"
    READ_TENANTS = "read_tenants"
    MAKE_TENANTS = "make_tenants"
    SUSPEND_TENANTS = "suspend_tenants"
    BACK_UP = "back_up"  # everything, and what keys are hashed under
    JOIN = "join"  # as a host with gateways
    FORGET_HOSTS = "forget_hosts"


_LOOK = frozenset(permission for permission in Permission if permission.startswith("read_"))

PERMISSIONS: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.ADMIN: frozenset(Permission),
        Role.OPERATOR: _LOOK | {Permission.REVOKE_KEYS, Permission.SUSPEND_TENANTS, Permission.FORGET_HOSTS},
        Role.AUDITOR: _LOOK,
        Role.DEVELOPER: frozenset(
            {
                Permission.READ_USAGE,
                Permission.READ_REQUESTS,
                Permission.READ_KEYS,
                Permission.MAKE_KEYS,
                Permission.REVOKE_KEYS,
            }
        ),
        Role.VIEWER: frozenset({Permission.READ_STATUS, Permission.READ_USAGE}),
        Role.GATEWAY: frozenset({Permission.JOIN}),
    }
)
"""What each role may do, in the tenants that its key is for."""
