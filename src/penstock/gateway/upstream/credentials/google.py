"""
Google: the key of a service account signs an assertion, which is exchanged for a token.

Source: Google, "Using OAuth 2.0 for Server to Server Applications", HTTP/REST; RFC 7523.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from penstock.auth.secrets import SecretMissing, SecretRef, document
from penstock.gateway.upstream.credentials.exchanged import Exchanged
from penstock.gateway.upstream.credentials.issuer import Issuer
from penstock.snapshot.credential import Google
from penstock.types.address import Address

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME_S = 3600  # of an assertion; the most that Google accepts
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class KeyFile(msgspec.Struct, frozen=True):
    """What we read of a service account's key file."""

    client_email: str
    private_key: str
    private_key_id: str
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address
    type: str = "service_account"

    def __repr__(self) -> str:
        """Tell nothing of the key: this may end up in a traceback."""
        return f"KeyFile({self.client_email!r}, …)"


def build(
    given: Google, environ: Mapping[str, str], clock: Callable[[], float], wall: Callable[[], float]
) -> Exchanged:
    """
    Make the credential. Connects to nothing.

    Args:
        wall: seconds since the epoch.
    Raises:
        SecretMissing: there is no key file, or it is none.
    """
    file = read(given.key, environ)
    _private_key(file)

    def form() -> Mapping[str, str]:
        return {"assertion": assertion(read(given.key, environ), wall()), "grant_type": _GRANT}

    issuer = Issuer(_address(file.token_uri), environ, clock)
    return Exchanged(f"token of Google for {file.client_email}", issuer, form, clock)


def read(reference: SecretRef, environ: Mapping[str, str]) -> KeyFile:
    """
    Read a key file.

    Raises:
        SecretMissing: there is none, or it is not that of a service account.
    """
    content = document(reference, environ)
    try:
        file = msgspec.json.decode(content, type=KeyFile)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise SecretMissing("the key file is not that of a service account of Google's") from None  # may quote it
    if file.type != "service_account":
        raise SecretMissing("the key file is not that of a service account of Google's")
    return file


def assertion(file: KeyFile, now: float) -> str:
    """
    Return a JSON Web Token that says who asks, signed with RS256.

    Args:
        now: seconds since the epoch.
    Raises:
        SecretMissing: the file holds no RSA key.
    """
    issued = int(now)
    header = {"alg": "RS256", "typ": "JWT", "kid": file.private_key_id}
    claims = {
        "iss": file.client_email,
        "scope": SCOPE,
        "aud": file.token_uri,
        "iat": issued,
        "exp": issued + _LIFETIME_S,
    }
    text = b".".join(_segment(msgspec.json.encode(part)) for part in (header, claims))
    signature = _private_key(file).sign(text, padding.PKCS1v15(), hashes.SHA256())
    return (b"%b.%b" % (text, _segment(signature))).decode()


def _segment(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _private_key(file: KeyFile) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(file.private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SecretMissing("the key file's private_key is not in PEM form") from None  # may quote it
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SecretMissing("the key file's private_key is no RSA key")
    return key


def _address(uri: str) -> Address:
    """
    Take a token endpoint apart.

    Raises:
        SecretMissing: it is no https:// address, except on this machine.
    """
    try:
        parts = urlsplit(uri)
        port, host, tls = parts.port, parts.hostname or "", parts.scheme == "https"
    except ValueError:
        port, host, tls = None, "", False
    plain = host and (tls or (parts.scheme == "http" and host in _LOOPBACK))
    if not plain or not uri.isascii() or not uri.isprintable() or " " in uri or parts.query or parts.fragment:
        raise SecretMissing("the key file's token_uri is not an https:// address")
    return Address(host=host, port=port or (443 if tls else 80), tls=tls, path=parts.path)
