"""What the gateway asks of a credential that is more than a ready-made header line."""

from __future__ import annotations

from typing import Protocol


class Credential(Protocol):
    """
    Authorizes requests to one upstream. Made by `Keyring`, lives as long as a view names it, shared by all exchanges.

    None of its parts goes into a log, an error or a `repr`.
    """

    async def lines(self, method: bytes, host: bytes, target: bytes, body: bytes, within_s: float) -> bytes:
        """
        Return whole header lines `name: value\\r\\n` for one request.

        Args:
            host: as in the `host` line.
            target: as sent, with the path of the upstream's address.
            within_s: how long a token may be waited for.
        Raises:
            UpstreamUnreachable: there is no token or key, so the upstream cannot be asked.
            UpstreamTimeout: `within_s` has passed.
        """

    def refused(self) -> None:
        """Hear that the upstream answered what these lines went with with 401."""

    def sweep(self) -> None:
        """Enforce deadlines; called every 0.1 s."""

    async def aclose(self) -> None:
        """Stop what goes on in the background."""
