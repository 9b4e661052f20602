"""
Signatures of AWS, version 4, in a header line or in an address that is signed ahead.

Pure: what time it is, is said by the caller. A request is written in a canonical form; its digest is signed by a key
that was derived from the secret for one day, region and service.

Source: AWS, "Create a signed AWS API request" (IAM User Guide); checked against AWS's test suite and botocore.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

_ALGORITHM = "AWS4-HMAC-SHA256"

Headers = Iterable[tuple[bytes, bytes]]


class Keys(msgspec.Struct, frozen=True):
    """What AWS issues to a user (two parts) or to a session (three)."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        """Tell nothing: this may end up in a traceback."""
        return "Keys(…)"


class Signer:
    """Signs for one region and service. Belongs to one thread; remembers the derived key of the last day."""

    def __init__(self, keys: Keys, region: str, service: str) -> None:
        self._keys = keys
        self._region = region
        self._service = service
        self._day = ""
        self._mac = hmac.new(b"", digestmod=sha256)  # keyed for the day; a copy costs less than a new one

    def header(
        self, method: bytes, target: bytes, headers: Headers, body: bytes, now: float, *, normalize: bool = True
    ) -> bytes:
        """
        Return the header lines to add to a request: the date, the session token if there is one, and the signature.

        Args:
            target: path and query as sent.
            headers: those to sign, `host` among them; none twice; names in lower case.
            now: seconds since the epoch.
            normalize: of the path, `.`, `..` and empty segments are taken out first, as every service but S3 does.
        """
        moment = _moment(int(now))
        token = self._keys.session_token
        added = [(b"x-amz-date", moment.encode())]
        if token is not None:
            added.append((b"x-amz-security-token", token.encode()))
        signed = sorted([*headers, *added])
        names = b";".join(name for name, _ in signed)
        path, _, query = target.partition(b"?")
        canonical = b"\n".join(
            (
                method,
                _path(path, normalize),
                _query(query),
                *(b"%b:%b" % (name, b" ".join(value.split())) for name, value in signed),
                b"",
                names,
                sha256(body).hexdigest().encode(),
            )
        )
        scope = self._scope(moment)
        lines = b"".join(b"%b: %b\r\n" % line for line in added)
        return (
            lines
            + (
                f"authorization: {_ALGORITHM} Credential={self._keys.access_key_id}/{scope}, "
                f"SignedHeaders={names.decode()}, Signature={self._signature(moment, scope, canonical)}\r\n"
            ).encode()
        )

    def query(self, method: bytes, host: bytes, target: bytes, now: float, expires_s: int) -> str:
        """
        Return the target with a signature in its query, good for `expires_s` seconds; there is no body.

        Args:
            target: path, and a query that is encoded already.
        """
        moment = _moment(int(now))
        scope = self._scope(moment)
        path, _, query = target.partition(b"?")
        parts = [
            ("X-Amz-Algorithm", _ALGORITHM),
            ("X-Amz-Credential", f"{self._keys.access_key_id}/{scope}"),
            ("X-Amz-Date", moment),
            ("X-Amz-Expires", str(expires_s)),
            ("X-Amz-SignedHeaders", "host"),
        ]
        if self._keys.session_token is not None:
            parts.append(("X-Amz-Security-Token", self._keys.session_token))
        added = "&".join(f"{name}={_encoded(value.encode())}" for name, value in parts)
        full = f"{query.decode()}&{added}" if query else added
        empty = sha256(b"").hexdigest().encode()
        canonical = b"\n".join(
            (method, _path(path, normalize=True), _query(full.encode()), b"host:" + host, b"", b"host", empty)
        )
        return f"{path.decode()}?{full}&X-Amz-Signature={self._signature(moment, scope, canonical)}"

    def _scope(self, moment: str) -> str:
        return f"{moment[:8]}/{self._region}/{self._service}/aws4_request"

    def _signature(self, moment: str, scope: str, canonical: bytes) -> str:
        day = moment[:8]
        if day != self._day:
            key = b"AWS4" + self._keys.secret_access_key.encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._mac = day, hmac.new(key, digestmod=sha256)
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{sha256(canonical).hexdigest()}"
        mac = self._mac.copy()
        mac.update(text.encode())
        return mac.hexdigest()


@lru_cache(maxsize=4)
def _moment(now: int) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")


def _encoded(data: bytes) -> str:
    return quote_from_bytes(data, safe="-_.~")


@lru_cache(maxsize=64)  # an upstream has few paths, and encoding one takes longer than all the rest
def _path(path: bytes, normalize: bool) -> bytes:
    """The path as sent is encoded already, and once more here."""
    if normalize:
        kept: list[bytes] = []
        for segment in path.split(b"/"):
            if segment == b"..":
                del kept[-1:]
            elif segment not in (b"", b"."):
                kept.append(segment)
        tail = b"/" if kept and path.endswith(b"/") else b""  # not behind a last dot, as botocore has it
        path = b"/" + b"/".join(kept) + tail
    return quote_from_bytes(path, safe="/-_.~").encode()


def _query(query: bytes) -> bytes:
    if not query:
        return b""
    pairs = (part.partition(b"=") for part in query.split(b"&") if part)
    encoded = sorted((_encoded(unquote_to_bytes(name)), _encoded(unquote_to_bytes(value))) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded).encode()
