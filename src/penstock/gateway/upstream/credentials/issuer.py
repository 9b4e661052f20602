"""The other side of a token exchange: an OAuth 2.0 token endpoint (RFC 6749, section 5), asked by a form."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated
from urllib.parse import urlencode

import msgspec

from penstock.gateway.upstream.credentials.token import Issued
from penstock.http.pool import Pool, Timeouts
from penstock.http.proxy import proxy_for
from penstock.types.address import Address
from penstock.types.errors import UpstreamFailed, UpstreamUnreachable

_OK = 200
_MOST = 64 * 1024
_TIMEOUTS = Timeouts(connect_s=5.0, first_byte_s=10.0, head_s=10.0, idle_s=5.0, total_s=15.0)
_LONGEST_S = 86_400.0  # a token is not kept longer, whatever its issuer says
_HEADERS = (
    b"content-type: application/x-www-form-urlencoded\r\naccept: application/json\r\naccept-encoding: identity\r\n"
)
_TOKEN = re.compile(r"[!-~]{1,16384}")
_CODE = re.compile(r"[a-z_]{1,40}")


class _Success(msgspec.Struct):
    access_token: str
    expires_in: Annotated[float, msgspec.Meta(ge=1)]


class _Refusal(msgspec.Struct):
    error: str = ""
    error_codes: list[int] = []  # of Entra


class Issuer:
    """One token endpoint with the connection to it. Must be swept and closed."""

    def __init__(self, address: Address, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        """
        Args:
            address: its path is the endpoint's, whole.
        Raises:
            StartError: the proxy that the environment names for it cannot be spoken to.
        """
        self.host = address.host
        self._pool = Pool(address, max_connections=4, max_idle=1, clock=clock, proxy=proxy_for(address, environ))

    async def ask(self, form: Mapping[str, str]) -> Issued:
        """
        Exchange what the form holds for a token.

        Raises:
            UpstreamError: it was refused, or there was no usable answer. The message holds nothing of the form, and of
                the answer only codes.
        """
        body = urlencode(form).encode()
        with await self._pool.request(b"POST", b"", _HEADERS, body, _TIMEOUTS) as reply:
            content = await reply.read(_MOST)
            after = reply.headers.get(b"retry-after", b"")
        if reply.status != _OK:
            raise UpstreamUnreachable(
                f"{self.host} refuses it with status {reply.status}{_codes(content)}",
                retry_after=float(after) if after.isdigit() and len(after) < 5 else None,
            )
        try:
            success = msgspec.json.decode(content, type=_Success, strict=False)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UpstreamFailed(f"the answer of {self.host} holds no token") from error
        if not _TOKEN.fullmatch(success.access_token):
            raise UpstreamFailed(f"the answer of {self.host} holds no usable token")
        return Issued(success.access_token, min(success.expires_in, _LONGEST_S))

    def sweep(self) -> None:
        """Enforce deadlines."""
        self._pool.sweep()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._pool.aclose()


def _codes(content: bytes) -> str:
    """Return what a refusal says in codes; its prose may repeat what was sent."""
    try:
        refusal = msgspec.json.decode(content, type=_Refusal)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    found = [refusal.error] if _CODE.fullmatch(refusal.error) else []
    found += [f"AADSTS{code}" for code in refusal.error_codes[:3]]
    return f" ({', '.join(found)})" if found else ""
