"""An upstream's error status as an error of ours."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time

from penstock.gateway.dialects.errors import kind_of
from penstock.gateway.metering.account import Account
from penstock.gateway.ownership.claim import NOT_FOUND, unknown
from penstock.gateway.ownership.tags import Kind, split
from penstock.gateway.upstream.hints import retry_after
from penstock.http.pool import Reply
from penstock.types.errors import InvalidRequest, UpstreamError, UpstreamRejected

_MAX_BODY = 64 * 1024
_BODY_S = 1.0
_MISSING = 404
_NOT_FOUND = frozenset({400, _MISSING})
_SERVER_ERROR = 500
# llama.cpp's words where a model cannot see or hear (`oaicompat_chat_params_parse`): a 500, as if it had failed, though
# the fault is the request's. Others say 400.
_UNTAKEN = re.compile(rb'"message": ?"(audio|image|video) input is not supported')


async def rejection(account: Account, name: str, reply: Reply) -> UpstreamRejected | InvalidRequest:
    """
    Explain the upstream's error status and return it as an error, with as much of its body as may be passed on.

    A response that it does not keep any more is as unknown as one that nobody has ever kept. Content that its model
    cannot take another deployment may.
    """
    body = b""  # where it does not come, the status says enough
    with contextlib.suppress(UpstreamError, TimeoutError):
        async with asyncio.timeout(_BODY_S):
            body = await reply.read(_MAX_BODY)
    rejected = UpstreamRejected(
        f"the upstream {name} answered with status {reply.status}",
        status=reply.status,
        body=body,
        retry_after=retry_after(reply.headers, body, time.time()),
    )
    kind, previous = kind_of(body), account.call.previous
    account.explain("upstream", f"{rejected}{kind}")
    if previous is not None and reply.status in _NOT_FOUND:
        # vLLM says it in a sentence that names the response, by the name that the client is not to see.
        named = split(Kind.RESPONSE, previous)[0].encode() in body
        if NOT_FOUND in kind or (named and reply.status == _MISSING):
            return unknown(previous)
    untaken = _UNTAKEN.search(body) if reply.status == _SERVER_ERROR else None
    if untaken is not None:
        return InvalidRequest(f"This model takes no {untaken[1].decode()} input.", code="unsupported_content")
    return rejected
