"""
Where an entry's `api_base` is, as a stack's base_url.

LiteLLM takes addresses with the path of a call at their end, and those of an Azure deployment, whose name there goes
before the one in `model:`. Penstock adds the paths of calls itself, and names Azure's deployments in the requests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from penstock.stack import url
from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.notes import Notes
from penstock.stack.litellm.providers import Provider
from penstock.stack.reader import PRINTABLE

_CALLS: Final = ("/chat/completions", "/completions", "/embeddings", "/messages", "/responses")
_DEPLOYMENTS: Final = "/openai/deployments/"
_VERSION: Final = "api-version="


class Place(msgspec.Struct, frozen=True):
    """
    Attributes:
        base_url: as the stack has it.
        deployment: what Azure's deployment is called, where the address says it; else empty.
        own: the provider's own address, or one that a variable holds: it may get the credential that its clients use.
    """

    base_url: str
    deployment: str
    own: bool


def place(base: Cursor | None, provider: Provider, params: Cursor, notes: Notes) -> Place | None:
    """
    Return where an entry is; None, with a note, when that could not be used.

    Args:
        base: `api_base` or `base_url`.
        params: what to point at when there is no address at all.
    """
    if base is None:
        if not provider.address:
            notes.left_out(params, "it has no api_base, and its provider has no usual address")
            return None
        return Place(provider.address, "", own=True)
    if base.variable is not None:
        if provider.suffix:
            told = f"the variable {base.variable} holds the address without {provider.suffix} and without a slash"
            notes.remark(base, f"{told} at its end; the stack adds {provider.suffix}")
        return Place(f"${{{base.variable}}}{provider.suffix}", "", own=bool(provider.hosts))
    found = _azure(base, provider, notes) if provider.hosts else _compatible(base, provider, notes)
    if found is None:
        return None
    try:
        url.parse(found.base_url, Path("/"))
    except ValueError as error:
        notes.left_out(base, str(error))
        return None
    if not PRINTABLE.fullmatch(found.base_url):
        notes.left_out(base, "it has characters that no address has")
        return None
    return msgspec.structs.replace(found, base_url=found.base_url.replace("$", "$$"))


def _compatible(base: Cursor, provider: Provider, notes: Notes) -> Place:
    address = _without_call((base.text or "").rstrip("/"), base, notes)
    address = address if address.endswith(provider.suffix) else address + provider.suffix
    return Place(address, "", own=address == provider.address)


def _azure(base: Cursor, provider: Provider, notes: Notes) -> Place | None:
    """Return where the v1 API is: at the root of Azure's own hosts; below the path of others (API Management)."""
    try:
        parts = urlsplit(base.text or "")
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or parts.scheme not in {"http", "https"}:
        notes.left_out(base, "an address of Azure is written https://HOST, perhaps with a path")
        return None
    path, _, below = parts.path.partition(_DEPLOYMENTS)
    deployment = unquote(below.partition("/")[0])
    own = parts.scheme == "https" and host.endswith(provider.hosts)
    if own:
        path = ""
    else:
        path = path.rstrip("/") if below else _without_call(path.rstrip("/"), base, notes)
        path = path.removesuffix(provider.suffix).removesuffix("/openai")
        told = f"this host is none of Azure's own: see to it that it passes on Azure's v1 API, at …{provider.suffix}"
        notes.remark(base, f"{told}; LiteLLM asks it with an api_version")
    if any(part and not part.startswith(_VERSION) for part in parts.query.split("&")):
        notes.left_out(base, "a base_url has no query: what comes after the ? is not in the stack")
    return Place(f"{parts.scheme}://{parts.netloc}{path}{provider.suffix}", deployment, own=own)


def _without_call(address: str, base: Cursor, notes: Notes) -> str:
    """Return an address without the path of a call at its end."""
    call = next((call for call in _CALLS if address.endswith(call)), None)
    if call is None:
        return address
    notes.remark(base, f"{call} at the end of the address is cut off: Penstock adds the path of each call itself")
    return address.removesuffix(call).rstrip("/")
