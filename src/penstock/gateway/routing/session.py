"""Which session an exchange belongs to, by what its client says."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects.call import Call
from penstock.gateway.routing.rendezvous import seed_of


class _Metadata(msgspec.Struct):
    user_id: str = ""


_decode_text = msgspec.json.Decoder(str).decode
_decode_metadata = msgspec.json.Decoder(_Metadata).decode


def session_of(tenant: str, header: bytes, call: Call) -> int | None:
    """
    Return 64 bits that stand for a session of a tenant, or None where the client says nothing of one.

    Args:
        header: `x-penstock-session`, or nothing. It goes before the body's `user`, then `metadata.user_id`, then
            `prompt_cache_key`; what is empty or no text says nothing.
    """
    said = header or _said(call).encode()
    return seed_of(tenant.encode() + b"\0" + said) if said else None


def _said(call: Call) -> str:
    fields = call.document.fields
    if "user" in fields and (user := _text(fields["user"])):
        return user
    if "metadata" in fields:
        try:
            if found := _decode_metadata(fields["metadata"]).user_id:
                return found
        except msgspec.MsgspecError:  # for the upstream to refuse
            pass
    return _text(fields["prompt_cache_key"]) if "prompt_cache_key" in fields else ""


def _text(value: msgspec.Raw) -> str:
    try:
        return _decode_text(value)
    except msgspec.MsgspecError:
        return ""
