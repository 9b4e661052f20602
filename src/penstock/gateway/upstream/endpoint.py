"""
The places exchanges are sent to, and what is known of each.

Counts belong to the address, not to a configuration: an endpoint lives through reloads for as long as the newest view
names it or any exchange is still in progress there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType

from penstock.http.pool import Pool
from penstock.http.proxy import proxy_for
from penstock.types.address import Address

_COOL_S = 1.0  # after a failure to connect, others are preferred for so long; the fleet's verdict takes over by then


class Endpoint:
    """
    One upstream address with its pool. Shared by all exchanges of the process; made and closed by `Endpoints`.

    Attributes:
        outstanding: exchanges in progress here from this process.
    """

    def __init__(self, name: str, address: Address, pool: Pool) -> None:
        self.name = name
        self.address = address
        self.pool = pool
        self.outstanding = 0
        self._cool_until = 0.0

    def __enter__(self) -> None:
        self.outstanding += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.outstanding -= 1

    def failed(self, now: float) -> None:
        """Note that no connection could be made."""
        self._cool_until = now + _COOL_S

    def cool(self, now: float) -> bool:
        """Tell whether a connection failed within the last second."""
        return now < self._cool_until


class Endpoints:
    """All endpoints of a gateway worker, by address."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._known: dict[Address, Endpoint] = {}
        self._retired: list[Endpoint] = []

    def get(self, name: str, address: Address, max_connections: int) -> Endpoint:
        """Return the endpoint of an address, making it when it is new. Connects to nothing."""
        endpoint = self._known.get(address)
        if endpoint is None:
            proxy = None if address.unix else proxy_for(address, self._environ)
            pool = Pool(address, max_connections=max_connections, max_idle=max_connections, proxy=proxy)
            endpoint = self._known[address] = Endpoint(name, address, pool)
        return endpoint

    def keep(self, addresses: Iterable[Address]) -> None:
        """Retire every endpoint that is not among these; each is closed once nothing is in progress there."""
        wanted = set(addresses)
        for address in [known for known in self._known if known not in wanted]:
            self._retired.append(self._known.pop(address))

    async def sweep(self) -> None:
        """Enforce the pools' deadlines and close what is retired and done. Called every 0.1 s by the worker."""
        for endpoint in self._known.values():
            endpoint.pool.sweep()
        for endpoint in self._retired:
            endpoint.pool.sweep()
        done = [endpoint for endpoint in self._retired if not endpoint.outstanding]
        if done:
            self._retired = [endpoint for endpoint in self._retired if endpoint.outstanding]
            for endpoint in done:
                await endpoint.pool.aclose()

    async def aclose(self) -> None:
        """Close all pools."""
        everything = [*self._known.values(), *self._retired]
        self._known.clear()
        self._retired.clear()
        await asyncio.gather(*(endpoint.pool.aclose() for endpoint in everything))
