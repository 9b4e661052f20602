from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records.database import Database

InTransaction = Callable[[Callable[[AsyncConnection], Awaitable[object]]], object]


@pytest.fixture
def in_transaction(tmp_path: Path) -> InTransaction:
    """Run a function over one writing transaction on a real database and return what it returns."""

    def run(case: Callable[[AsyncConnection], Awaitable[object]]) -> object:
        async def whole() -> object:
            database = await Database.open(tmp_path / "p.db")
            try:
                async with database.write() as connection:
                    return await case(connection)
            finally:
                await database.close()

        return asyncio.run(whole())

    return run
