"""The base address of a provider, as written in the stack. Messages never repeat it: it may hold a secret."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from urllib.parse import urlsplit

from penstock.types.address import Address

_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}\.?)*")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*")
_UNIX = re.compile(r"unix:(?P<socket>[^:]+)(?::(?P<path>/.*))?")
_LONGEST_UNIX = 107  # bytes; what Linux keeps in sockaddr_un without the closing zero
_SHAPE = "a base_url is written https://host/v1, http://host:port/v1 or unix:/path.sock"


def parse(text: str, directory: Path) -> Address:
    """
    Read `https://api.openai.com/v1`, `http://127.0.0.1:8000/v1` or `unix:/run/vllm.sock`.

    A Unix socket is asked under `/v1` unless another prefix follows it: `unix:/run/vllm.sock:/api/v1`.

    Args:
        directory: what a relative socket path is relative to.
    Raises:
        ValueError: anything else, as a sentence.
    """
    if text.startswith("unix:"):
        return _unix(text, directory)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(_SHAPE) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(_SHAPE)
    if "@" in parts.netloc:
        raise ValueError("a base_url holds no user name or password; give the credential as api_key")
    if "?" in text or "#" in text:
        raise ValueError("a base_url ends with its path; it has no query (?) and no fragment (#)")
    tls = parts.scheme == "https"
    if port is None:
        port = 443 if tls else 80
    if port == 0:
        raise ValueError("a port is a number from 1 to 65535")
    return Address(host=_host(parts.hostname), port=port, tls=tls, path=_prefix(parts.path))


def written(address: Address) -> str:
    """Write an address as a base_url."""
    if address.unix is not None:
        return f"unix:{address.unix}" if address.path == "/v1" else f"unix:{address.unix}:{address.path or '/'}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    default = 443 if address.tls else 80
    port = "" if address.port == default else f":{address.port}"
    return f"{'https' if address.tls else 'http'}://{host}{port}{address.path}"


def local(address: Address) -> bool:
    """Tell whether what is sent to the address stays on this machine."""
    if address.unix is not None or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def _unix(text: str, directory: Path) -> Address:
    match = _UNIX.fullmatch(text)
    if match is None:
        raise ValueError(_SHAPE)
    socket = str(directory / match["socket"])
    if len(socket.encode()) > _LONGEST_UNIX:
        raise ValueError(f"the path of a Unix socket has at most {_LONGEST_UNIX} bytes")
    prefix = "/v1" if match["path"] is None else _prefix(match["path"])
    return Address(unix=socket, path=prefix)


def _prefix(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ValueError("the path of a base_url has a character that belongs percent-encoded")
    return path.rstrip("/")


def _host(host: str) -> str:
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ValueError("what is in brackets is not an IPv6 address") from None
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError("the host is not an IPv4 address") from None
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("the host is neither an IP address nor a host name (write it in ASCII)")
    return host
