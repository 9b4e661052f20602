"""A request as its handler sees it."""

from __future__ import annotations

import msgspec

from penstock.http.request_body import RequestBody


class Request(msgspec.Struct):
    """
    One request. Made by the connection when the head is complete; belongs to the handler until it returns.

    The handler gets it then, or when a body of at most `Limits.read_ahead` bytes is here too.

    Attributes:
        method: upper case.
        path, query: the target up to and after the first `?`, as sent: percent-encoding is kept. ASCII.
        headers: names in lower case, values without the white space around them. Lines with the same name are joined
            by `, `; those that must be single are (the request is refused otherwise).
        peer: the client's IP address without its port; empty for a Unix socket.
        local: came in on a listener for callers of this machine's own user.
        received: when the head was complete, on the server's clock, in seconds.
        length: of the body in bytes; None when it is chunked.
        keep_alive: the client may send another request on this connection.
        expects: the client waits for `100 Continue` before it sends the body.
        chunks: an answer may be chunked (the client speaks HTTP/1.1).
        whole: the body, if it is here already; else `body()` waits for it.
        incoming: the connection's: the body comes in here.
    """

    method: str
    path: str
    query: str
    chunks: bool
    headers: dict[bytes, bytes]
    peer: str
    local: bool
    received: float
    length: int | None
    keep_alive: bool
    expects: bool
    whole: bytes | None = None
    incoming: RequestBody | None = None

    async def body(self) -> bytes:
        """
        The whole body; asks the client for it first if it waits for `100 Continue`.

        Raises:
            InvalidRequest: it is malformed. BodyTooLarge: it is chunked and over the limit.
            RequestTimedOut: it came too slowly. After any of them the connection ends with the answer.
        """
        whole = self.whole
        if whole is None:
            assert self.incoming is not None, "the connection gives a body or attaches one"
            whole = self.whole = await self.incoming.read()
        return whole
