"""A bearer token that a token endpoint gives out for something of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from penstock.auth.secrets import SecretMissing
from penstock.gateway.upstream.credentials.issuer import Issuer
from penstock.gateway.upstream.credentials.token import Issued, Token
from penstock.types.errors import UpstreamUnreachable


class Exchanged:
    """
    A `Credential`. What is exchanged is read for each fetch, so that a secret that was renewed in its place counts.

    Args:
        form: what the token endpoint is sent; raises `SecretMissing`.
    """

    def __init__(
        self, name: str, issuer: Issuer, form: Callable[[], Mapping[str, str]], clock: Callable[[], float]
    ) -> None:
        self._issuer = issuer
        self._form = form
        self._token = Token(name, self._fetch, clock, Random())  # noqa: S311  # spreads retries, hides nothing

    async def lines(self, method: bytes, host: bytes, target: bytes, body: bytes, within_s: float) -> bytes:  # noqa: ARG002  # a bearer token is good for any request
        """Return the line with the token; see `Credential`."""
        return await self._token.lines(within_s)

    def refused(self) -> None:
        """Have the token fetched again, see `Token.refused`."""
        self._token.refused()

    def sweep(self) -> None:
        """Enforce the deadlines of a fetch."""
        self._issuer.sweep()

    async def aclose(self) -> None:
        """Stop a fetch and close the connection."""
        await self._token.aclose()
        await self._issuer.aclose()

    async def _fetch(self) -> Issued:
        try:
            form = self._form()
        except SecretMissing as error:
            raise UpstreamUnreachable(str(error)) from error
        return await self._issuer.ask(form)
