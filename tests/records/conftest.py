from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.conftest import Opener

InTransaction = Callable[[Callable[[AsyncConnection], Awaitable[object]]], object]


@pytest.fixture
def in_transaction(open_database: Opener) -> InTransaction:
    """Run a function over one writing transaction on a real database and return what it returns."""

    def run(case: Callable[[AsyncConnection], Awaitable[object]]) -> object:
        async def whole() -> object:
            database = await open_database()
            try:
                async with database.write() as connection:
                    return await case(connection)
            finally:
                await database.close()

        return asyncio.run(whole())

    return run
