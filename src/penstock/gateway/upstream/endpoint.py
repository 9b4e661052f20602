"""
The places exchanges are sent to, and what is known of each.

Counts belong to the endpoint, not to a configuration: it lives through reloads for as long as the newest view names it
or an exchange that knows it may be in progress.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from penstock.gateway.routing.latency import Latency
from penstock.gateway.routing.prompts import UNKNOWN, Prompts
from penstock.gateway.routing.rendezvous import seed_of
from penstock.gateway.upstream.credentials.keyring import Keyring
from penstock.gateway.upstream.ejection import Record
from penstock.http.pool import Pool
from penstock.http.proxy import proxy_for
from penstock.types.address import Address

_Identity = tuple[str, Address, int]

_MOST = 65_536


class Endpoint:
    """
    One upstream address with its pool. Shared by all exchanges of the process; made and closed by `Endpoints`.

    Attributes:
        seed: stands for its name, in every process alike.
        seats: exchanges that it works on at once, of all processes.
        outstanding: exchanges in progress here from this process.
        latency: from asking to the beginning of an answer.
        prompts: what it has read lately; looked after where that is what replicas are chosen by.
        record: of its failures, where the deployment has other replicas.
    """

    def __init__(self, name: str, address: Address, pool: Pool, seats: int) -> None:
        self.name = name
        self.seed = seed_of(name)
        self.seats = seats
        self.address = address
        self.pool = pool
        self.outstanding = 0
        self.latency = Latency()
        self.prompts = Prompts()
        self.record = Record()


class Endpoints:
    """
    All endpoints of a gateway worker. Each belongs to one deployment, also where two share an address.

    Attributes:
        keyring: credentials of these endpoints; swept and closed with them.
    """

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        self.keyring = Keyring(environ, clock)
        self._environ = environ
        self._clock = clock
        self._known: dict[_Identity, Endpoint] = {}
        self._retired: list[tuple[float, Endpoint]] = []
        self._longest_s = 0.0  # that any exchange so far may take
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, name: str, address: Address, seats: int, prompt_bytes: int = UNKNOWN) -> Endpoint:
        """
        Return the endpoint of a replica or a provider's deployment, making it when it is new. Connects to nothing.

        Args:
            seats: exchanges that it works on at once; so many connections are kept. How many are made is bounded by
                who has a seat.
            prompt_bytes: of prompts that it keeps, this process's share.
        Raises:
            StartError: the proxy that the environment names for it cannot be spoken to.
        """
        identity = (name, address, seats)
        endpoint = self._known.get(identity)
        if endpoint is None:
            proxy = None if address.unix else proxy_for(address, self._environ)
            pool = Pool(address, max_connections=_MOST, max_idle=seats, proxy=proxy)
            endpoint = self._known[identity] = Endpoint(name, address, pool, seats)
        endpoint.prompts.most_bytes = prompt_bytes
        return endpoint

    def keep(self, wanted: Iterable[Endpoint], longest_s: float) -> None:
        """
        Retire every endpoint that is not among these. A retired one lives until nobody can turn to it any more.

        Args:
            longest_s: how long an exchange that begins from now on may take.
        """
        kept = set(wanted)
        until = self._clock() + self._longest_s
        self._longest_s = max(self._longest_s, longest_s)
        for identity, endpoint in list(self._known.items()):
            if endpoint not in kept:
                del self._known[identity]
                self._retired.append((until, endpoint))

    @property
    def outstanding(self) -> int:
        """Exchanges in progress at all endpoints, retired ones included."""
        everything = (*self._known.values(), *(endpoint for _, endpoint in self._retired))
        return sum(endpoint.outstanding for endpoint in everything)

    def sweep(self) -> None:
        """Enforce the pools' deadlines and close what is retired and done. Called every 0.1 s by the worker."""
        for endpoint in self._known.values():
            endpoint.pool.sweep()
        now, staying = self._clock(), []
        for until, endpoint in self._retired:
            endpoint.pool.sweep()
            if endpoint.outstanding or now < until:
                staying.append((until, endpoint))
            else:
                closing = asyncio.create_task(endpoint.pool.aclose(), name=f"close {endpoint.name}")
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        self._retired = staying
        self.keyring.sweep()

    async def aclose(self) -> None:
        """Close all pools."""
        everything = [*self._known.values(), *(endpoint for _, endpoint in self._retired)]
        self._known.clear()
        self._retired.clear()
        closing = (endpoint.pool.aclose() for endpoint in everything)
        await asyncio.gather(*self._closing, self.keyring.aclose(), *closing)
