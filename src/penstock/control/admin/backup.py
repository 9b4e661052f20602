"""`/admin/v1/backup`: ledger and keys, all of one moment, as one file."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from penstock import __version__
from penstock.auth.roles import Permission
from penstock.control.admin.access import allow
from penstock.control.fold import Fold
from penstock.records import archive
from penstock.records.database import Database

_PATIENCE_S = 30.0
_GZIP = 31  # of zlib: the largest window, in a gzip file


def mount(app: FastAPI, database: Database, fold: Fold, secret: bytes) -> None:
    """
    Serve backups.

    Args:
        secret: what keys are hashed under, if that is Penstock's own to keep.
    """

    @app.get(
        "/admin/v1/backup",
        dependencies=[allow(Permission.BACK_UP, everywhere=True)],
        response_class=StreamingResponse,
        tags=["backup"],
    )
    async def backup() -> StreamingResponse:
        """Return ledger and keys, for `penstock restore`. It holds what keys are hashed under: keep it as a secret."""
        await fold.catch_up(_PATIENCE_S)
        headers = {"cache-control": "no-store"}
        return StreamingResponse(_packed(database, secret), media_type="application/gzip", headers=headers)


async def _packed(database: Database, secret: bytes) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(wbits=_GZIP)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    async with database.read() as connection:
        async for lines in archive.export(connection, __version__, now, secret):
            if piece := packer.compress(lines):
                yield piece
    yield packer.flush()
