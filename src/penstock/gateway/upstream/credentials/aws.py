"""
AWS: a signature for each request, or a token that was signed ahead.

The keys are read again once a minute where they are in files, because those of a session are renewed there.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from penstock.auth.secrets import SecretMissing, SecretRef, resolve
from penstock.gateway.upstream.credentials.sigv4 import Keys, Signer
from penstock.snapshot.credential import Aws

_READ_S = 60.0
_TOKEN_S = 900  # a token is good for; AWS allows 12 hours
_CONTENT_TYPE = (b"content-type", b"application/json")  # what every provider sends, and what has to be signed


class Signatures:
    """A `Credential`: signs each request of its service."""

    def __init__(
        self, given: Aws, environ: Mapping[str, str], clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        """
        Args:
            wall: seconds since the epoch.
        Raises:
            SecretMissing: a part of the keys is not there.
        """
        self._given = given
        self._environ = environ
        self._clock = clock
        self._wall = wall
        self._keys = self._read()
        self._signer = Signer(self._keys, given.region, given.service)
        self._read_at = clock() + _READ_S

    async def lines(self, method: bytes, host: bytes, target: bytes, body: bytes, within_s: float) -> bytes:  # noqa: ARG002  # nothing is waited for
        """Return date, session token and signature; see `Credential`."""
        headers = ((b"host", host), _CONTENT_TYPE)
        return self._current().header(method, target, headers, body, self._wall())

    def refused(self) -> None:
        """Look at once whether there are new keys; a signature is made anew anyway."""
        self._read_at = min(self._read_at, self._clock())

    def sweep(self) -> None:
        """Do nothing: there is no deadline."""

    async def aclose(self) -> None:
        """Do nothing: there is nothing in the background."""

    def _current(self) -> Signer:
        now = self._clock()
        if now >= self._read_at:
            self._read_at = now + _READ_S
            try:
                keys = self._read()
            except SecretMissing:  # being written just now, say; the upstream will tell when the ones at hand are over
                keys = self._keys
            if keys != self._keys:
                self._keys = keys
                self._signer = Signer(keys, self._given.region, self._given.service)
        return self._signer

    def _read(self) -> Keys:
        def value(reference: SecretRef) -> str:
            return resolve(reference, self._environ)

        given = self._given
        return Keys(
            value(given.access_key_id),
            value(given.secret_access_key),
            None if given.session_token is None else value(given.session_token),
        )


class BearerToken(Signatures):
    """
    A `Credential`: a token made of an address that is signed ahead, as SageMaker's OpenAI-compatible endpoints want it.

    Source: the token generator of AWS's SageMaker Python SDK.
    """

    _line = b""
    _made_by: Signer | None = None
    _again_at = 0.0

    async def lines(self, method: bytes, host: bytes, target: bytes, body: bytes, within_s: float) -> bytes:  # noqa: ARG002  # it is good for any request
        """Return the line with the token, which is made anew in its last third; see `Credential`."""
        signer, now = self._current(), self._clock()
        if signer is not self._made_by or now >= self._again_at:
            service = self._given.service
            where = f"{service}.amazonaws.com"
            signed = signer.query(b"POST", where.encode(), b"/?Action=CallWithBearerToken", self._wall(), _TOKEN_S)
            token = base64.b64encode(f"{where}{signed}&Version=1".encode())
            self._line = b"authorization: Bearer %b-api-key-%b\r\n" % (service.encode(), token)
            self._made_by, self._again_at = signer, now + _TOKEN_S * 2 / 3
        return self._line

    def refused(self) -> None:
        """Make it anew, and look whether there are new keys: the clock may have been set since."""
        super().refused()
        self._again_at = min(self._again_at, self._clock())
