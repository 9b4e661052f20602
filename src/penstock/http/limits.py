"""What a client may ask of the server before it is refused or cut."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """
    Bounds on every connection of a server. Sizes in bytes, times in seconds.

    Attributes:
        header_bytes: a whole request head, and the trailers of a chunked body.
        header_count: header lines in a head.
        max_body: a request body, decoded.
        read_ahead: input held beyond the request being answered (pipelined requests), and body held before the
            handler has asked for it. One read from the socket may go over it. TLS holds up to 256 KiB more.
        head_s: a whole head, from its first byte, or for the first one from accept; before it, the TLS handshake.
        body_s, body_bytes_per_s: a body may take `body_s` plus its received bytes divided by `body_bytes_per_s`, from
            the end of the head, or from when it is asked for if it is larger than `read_ahead` or chunked.
        idle_s: keep-alive without a request.
        write_s: a peer that takes nothing of a waiting answer for so long is cut.
        write_high: answer bytes waiting for the peer before the handler has to wait too.
        max_connections: open connections, without those in their TLS handshake; one more gets 503.
    """

    header_bytes: int = 32 * 1024
    header_count: int = 100
    max_body: int = 32 * 1024 * 1024
    read_ahead: int = 64 * 1024
    head_s: float = 10.0
    body_s: float = 30.0
    body_bytes_per_s: int = 4096
    idle_s: float = 75.0
    write_s: float = 30.0
    write_high: int = 64 * 1024
    max_connections: int = 10_000
