"""A connection to Redis, and the scripts that count there."""

from __future__ import annotations

import asyncio
import contextlib
from importlib import resources
from typing import Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

PREFIX = "{penstock}"
"""What all keys begin with; the braces keep them together in a cluster."""
_CONNECT_S = 1.0

GONE = (RedisError, OSError, TimeoutError, ValueError)
"""What says that a connection is of no use any more."""


class Connection:
    """
    One connection, as long as it works; after any of `GONE`, it is closed and another one made.

    Made by `open`.

    Attributes:
        client: for what no script is needed for.
        run: the run id of this Redis: another one after each of its starts.
    """

    def __init__(self, client: Redis, run: str, patience_s: float) -> None:
        self.client = client
        self.run = run
        self._patience_s = patience_s
        self._scripts = {name: client.register_script(_text(name)) for name in ("count", "post", "free")}

    @classmethod
    async def open(cls, url: str, patience_s: float) -> Self:
        """
        Connect.

        Args:
            url: `redis://`, `rediss://` or `unix://`, with user, password and number of the database if need be.
            patience_s: seconds that an answer may take.
        Raises:
            RedisError, OSError, TimeoutError: it cannot be reached, or refuses.
            ValueError: the URL is none.
        """
        client = Redis.from_url(
            url,
            single_connection_client=True,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=_CONNECT_S,
            socket_timeout=patience_s,
        )
        try:
            async with asyncio.timeout(_CONNECT_S + patience_s):
                await client.initialize()
                run = str((await client.info("server"))["run_id"])
        except BaseException:
            await client.aclose()
            raise
        return cls(client, run, patience_s)

    async def call(self, script: str, *arguments: bytes | str | int) -> bytes | int:
        """
        Run a script: `count`, `post` or `free`; see there.

        Raises:
            RedisError, OSError, TimeoutError: nobody knows whether it ran.
        """
        async with asyncio.timeout(self._patience_s):
            answer: bytes | int = await self._scripts[script](keys=[PREFIX], args=list(arguments))
            return answer

    async def close(self) -> None:
        """Close it, whatever state it is in."""
        with contextlib.suppress(*GONE):
            await self.client.aclose()


def _text(script: str) -> str:
    return resources.files(__package__).joinpath(f"{script}.lua").read_text(encoding="utf-8")
