"""
PostgreSQL: a server that several hosts reach, of which one control at a time has the tables for itself.

Reading transactions see one state throughout (REPEATABLE READ); writing ones take turns within the process.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from penstock.types.errors import StartError

_CONNECT_S = 5.0
_ANSWER_S = 30.0  # a page over a large ledger takes some; nothing is waited for for ever
_IDLE_S = 1800
_LEADER = 0x70656E73  # number of the advisory lock: "pens"
_WRITERS = _LEADER + 1
_LOOK_S = 1.0

_log = logging.getLogger(__name__)


def engine(url: str, **options: Any) -> tuple[AsyncEngine, AsyncEngine]:
    """
    Return engines for reading and for writing. Nothing is connected to yet.

    Args:
        url: as everywhere, with `sslmode`, `sslrootcert` and the like if need be.
    Raises:
        StartError: it is not the address of a PostgreSQL; the message does not repeat it, as it may hold a password.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise StartError("the address of the database begins with postgresql://")

    async def connect() -> asyncpg.Connection:
        settings = {"application_name": "penstock"}
        try:
            return await asyncpg.connect(url, timeout=_CONNECT_S, command_timeout=_ANSWER_S, server_settings=settings)
        except (ValueError, TypeError, asyncpg.InterfaceError):  # their messages may repeat it
            raise StartError("the address of the database is none: postgresql://user:password@host/name") from None

    writes = create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, pool_pre_ping=True, pool_recycle=_IDLE_S, **options
    )
    return writes.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True), writes


class Leadership:
    """
    The right to be the one control of a database: a lock that the server gives back when its connection ends.

    Whoever writes holds another lock in common with others that write, and looks whether it leads; whoever takes over
    waits until nobody holds that one. So nothing is written by one who does not lead any more. Made by `take`.
    """

    def __init__(self, connection: AsyncConnection, pid: int) -> None:
        self._connection = connection
        self._pid = pid

    @classmethod
    async def take(cls, engine: AsyncEngine, *, wait: bool = True) -> Leadership:
        """
        Wait until nobody else leads, and lead.

        Args:
            wait: False to give up at once.
        Raises:
            SQLAlchemyError, OSError: the server cannot be asked.
            StartError: the address is none, or another control leads.
        """
        waits = False
        while True:
            connection = await engine.connect()
            try:
                connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
                if await connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": _LEADER}):
                    await connection.execute(text("SELECT pg_advisory_lock(:number)"), {"number": _WRITERS})
                    await connection.execute(text("SELECT pg_advisory_unlock(:number)"), {"number": _WRITERS})
                    return cls(connection, int(await connection.scalar(text("SELECT pg_backend_pid()"))))
            except BaseException:
                await connection.invalidate()
                await connection.close()
                raise
            await connection.close()
            if not wait:
                raise StartError("a penstock control is using the database")
            if not waits:
                _log.warning("another control leads; waiting to take over")
            waits = True
            await asyncio.sleep(_LOOK_S)

    async def confirm(self, connection: AsyncConnection) -> bool:
        """Tell, at the beginning of a transaction, whether we lead until its end."""
        await connection.execute(text("SELECT pg_advisory_xact_lock_shared(:number)"), {"number": _WRITERS})
        held = text(
            "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = :number AND pid = :pid"
        )
        return bool(await connection.scalar(held, {"number": _LEADER, "pid": self._pid}))

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
