"""
PostgreSQL: a server that several hosts reach, of which one control at a time has the tables for itself.

Reading transactions see one state throughout (REPEATABLE READ); writing ones take turns within the process.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from penstock.types.errors import StartError

_CONNECT_S = 5.0
_ANSWER_S = 30.0  # a page over a large ledger takes some; nothing is waited for for ever
_IDLE_S = 1800
_LEADER = 0x70656E73  # number of the advisory lock: "pens"
_LOOK_S = 1.0

_log = logging.getLogger(__name__)


def address(url: str) -> URL:
    """
    Return the address for the driver; `sslmode` is understood as everywhere.

    Raises:
        StartError: it is none; the message does not repeat it, as it may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StartError("the address of the database is none: postgresql://user:password@host/name") from None
    if parsed.drivername not in ("postgresql", "postgres"):
        raise StartError("the address of the database begins with postgresql://")
    mode = parsed.query.get("sslmode")
    parsed = parsed.difference_update_query(["sslmode"]).set(drivername="postgresql+asyncpg")
    return parsed.update_query_dict({"ssl": mode}) if isinstance(mode, str) else parsed


def engine(url: str, **options: Any) -> tuple[AsyncEngine, AsyncEngine]:
    """
    Return engines for reading and for writing.

    Raises:
        StartError: that is no address.
    """
    arguments = {
        "timeout": _CONNECT_S,
        "command_timeout": _ANSWER_S,
        "server_settings": {"application_name": "penstock"},
    }
    writes = create_async_engine(
        address(url), connect_args=arguments, pool_pre_ping=True, pool_recycle=_IDLE_S, **options
    )
    return writes.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True), writes


class Leadership:
    """
    The right to be the one control of a database: a lock that the server gives back when its connection ends.

    Made by `take`.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @classmethod
    async def take(cls, engine: AsyncEngine) -> Leadership:
        """
        Wait until nobody else leads, and lead.

        Raises:
            SQLAlchemyError, OSError: the server cannot be asked.
        """
        waits = False
        while True:
            connection = await engine.connect()
            try:
                connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
                if await connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": _LEADER}):
                    return cls(connection)
            except BaseException:
                await connection.invalidate()
                await connection.close()
                raise
            await connection.close()
            if not waits:
                _log.warning("another control leads; waiting to take over")
            waits = True
            await asyncio.sleep(_LOOK_S)

    async def lost(self) -> None:
        """Wait until we do not lead any more, or cannot tell."""
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self._connection.scalar(text("SELECT 1"))
            except (SQLAlchemyError, OSError):
                return

    async def close(self) -> None:
        """Let somebody else lead."""
        await self._connection.invalidate()
        await self._connection.close()
