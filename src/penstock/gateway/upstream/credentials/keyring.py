"""All credentials of a gateway worker that are more than a header line; deployments that have the same one share it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

from penstock.gateway.upstream.credentials import aws, entra
from penstock.gateway.upstream.credentials.credential import Credential
from penstock.snapshot import credential as given


class Keyring:
    """
    Like endpoints, credentials outlive a configuration: a token is not fetched again because a file was edited.

    Args:
        clock: seconds, monotonic.
        wall: seconds since the epoch, for what is signed.
    """

    def __init__(
        self, environ: Mapping[str, str], clock: Callable[[], float], wall: Callable[[], float] = time.time
    ) -> None:
        self._environ = environ
        self._clock = clock
        self._wall = wall
        self._known: dict[given.Credential, Credential] = {}
        self._retired: list[tuple[float, Credential]] = []
        self._longest_s = 0.0  # that any exchange so far may take
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, wanted: given.Credential) -> Credential:
        """
        Return the credential, making it when it is new. Connects to nothing.

        Raises:
            SecretMissing: a part of it is not there, or unusable.
            StartError: the proxy that the environment names for its issuer cannot be spoken to.
        """
        credential = self._known.get(wanted)
        if credential is None:
            credential = self._known[wanted] = self._build(wanted)
        return credential

    def keep(self, wanted: Iterable[given.Credential], longest_s: float) -> None:
        """
        Retire every credential that is not among these; it goes on for as long as an exchange may that knows it.

        Args:
            longest_s: how long an exchange that begins from now on may take.
        """
        kept, until = set(wanted), self._clock() + self._longest_s
        self._longest_s = max(self._longest_s, longest_s)
        for each in [each for each in self._known if each not in kept]:
            self._retired.append((until, self._known.pop(each)))

    def sweep(self) -> None:
        """Enforce deadlines and close what is retired and done."""
        now = self._clock()
        for credential in (*self._known.values(), *(retired for _, retired in self._retired)):
            credential.sweep()
        for _, credential in (entry for entry in self._retired if entry[0] <= now):
            closing = asyncio.create_task(credential.aclose(), name="close credential")
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        self._retired = [entry for entry in self._retired if entry[0] > now]

    async def aclose(self) -> None:
        """Close all."""
        everything = [*self._known.values(), *(credential for _, credential in self._retired)]
        self._known.clear()
        self._retired.clear()
        await asyncio.gather(*self._closing, *(credential.aclose() for credential in everything))

    def _build(self, wanted: given.Credential) -> Credential:
        match wanted:
            case given.Aws():
                kind = aws.BearerToken if wanted.bearer else aws.Signatures
                return kind(wanted, self._environ, self._clock, self._wall)
            case given.Google():
                from penstock.gateway.upstream.credentials import google  # brings cryptography, which few need

                return google.build(wanted, self._environ, self._clock, self._wall)
            case given.Entra():
                return entra.build(wanted, self._environ, self._clock)
