"""TLS of the server, with certificates that are renewed while it runs."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from penstock.types.errors import StartError

_log = logging.getLogger("penstock.http")

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # of TLS 1.2; those of 1.3 are all sound


class ServerTls:
    """
    A certificate with its key, and the TLS context made of them. May be shared by several listeners.

    TLS 1.2 and 1.3, forward secrecy and authenticated ciphers only, ALPN `http/1.1`.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """
        Read the pair: PEM files, the certificate followed by its chain, the key without a passphrase.

        Raises:
            StartError: they cannot be read or do not belong together.
        """
        self._certificate = certificate
        self._key = key
        self._seen = self._state()
        self._context = _new_context()
        try:
            self._load(self._context)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise StartError(f"TLS cannot be used: {_fault(certificate, key, error)}") from error

    @property
    def context(self) -> ssl.SSLContext:
        """What handshakes use; it is the same object for good."""
        return self._context

    def reload_if_changed(self) -> bool:
        """
        Take up a renewed pair, for new handshakes; open connections keep what they have.

        A pair that cannot be used is logged once and the old one stays.

        Returns:
            Whether a new pair is in use.
        """
        state = self._state()
        if state == self._seen:
            return False
        self._seen = state
        try:
            self._load(_new_context())  # a pair that does not match would spoil the live context
            self._load(self._context)
        except (OSError, ValueError) as error:
            _log.warning(
                "the renewed TLS certificate cannot be used, the old one stays",
                extra={
                    "fields": {
                        "certificate": str(self._certificate),
                        "error": _fault(self._certificate, self._key, error),
                    }
                },
            )
            return False
        _log.info("renewed TLS certificate in use", extra={"fields": {"certificate": str(self._certificate)}})
        return True

    def _state(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_file_state(path) for path in (self._certificate, self._key))

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _file_state(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced or rewritten; None while it is missing."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _fault(certificate: Path, key: Path, error: Exception) -> str:
    """Say which file is at fault, for OpenSSL's `[SSL] PEM lib` does not."""
    for path, kind in ((certificate, "certificate"), (key, "private key")):
        try:
            content = path.read_bytes()
        except OSError as unreadable:
            return f"the {kind} {path} cannot be read: {unreadable.strerror}"
        if f"{kind.upper()}-----".encode() not in content:
            return f"{path} holds no {kind} in PEM format"
    if not isinstance(error, ssl.SSLError):
        return f"{key}: {error}"
    if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return f"the private key {key} does not belong to the certificate {certificate}"
    try:
        ssl.create_default_context(cadata=certificate.read_text("ascii"))
    except (OSError, ValueError):  # damaged, not ASCII, or gone by now
        return f"the certificate {certificate} is damaged"
    return f"the private key {key} is damaged, or the pair is not accepted: {error.reason or error}"


def _no_passphrase() -> str:
    raise ValueError("it is protected by a passphrase")  # OpenSSL would ask for it on the terminal
