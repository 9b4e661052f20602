"""
A token that expires: fetched by one for all who need it, and again in the background before it ends.

While a token is good, `lines` answers at once. From `_AHEAD` of its end on, the next use begins a fetch and goes on
with the token at hand, also when that fetch fails. Without a good token everybody waits for the same fetch, each as
long as it may; who gives up does not stop it. After a failure the next fetch is put off, ever longer, and whoever
needs a token meanwhile is told the failure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random

import msgspec

from penstock.types.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable

_log = logging.getLogger("penstock.gateway")
_AHEAD_S = 300.0  # before its end a token is fetched again; of a short one, in its last fifth
_SPARE_S = 30.0  # before its end it is not used any more, as it must last until the upstream has read it
_TRUSTED_S = 60.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class Issued(msgspec.Struct, frozen=True):
    """
    A token, as it was issued.

    Attributes:
        value: printable ASCII without spaces.
        lifetime_s: from being asked for.
    """

    value: str
    lifetime_s: float

    def __repr__(self) -> str:
        """Tell nothing: this may end up in a traceback."""
        return "Issued(…)"


class _Held(msgspec.Struct, frozen=True):
    lines: bytes
    since: float
    renew_at: float
    until: float


class Token:
    """
    Belongs to one event loop. Must be closed.

    Args:
        name: what it is for, in the middle of a sentence.
        fetch: gets a new one, in bounded time; raises `UpstreamError`.
        clock: seconds, monotonic.
        random: spreads what many workers would otherwise try at the same moment.
    """

    def __init__(
        self, name: str, fetch: Callable[[], Awaitable[Issued]], clock: Callable[[], float], random: Random
    ) -> None:
        self._name = name
        self._fetch = fetch
        self._clock = clock
        self._random = random
        self._held: _Held | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._failure: UpstreamError | None = None
        self._failures = 0
        self._again_at = 0.0  # no fetch before
        self._closed = False

    async def lines(self, within_s: float) -> bytes:
        """
        Return the header line with a good token.

        Raises:
            UpstreamUnreachable: there is none, and the last fetch failed.
            UpstreamTimeout: none has come within `within_s` seconds.
        """
        held, now = self._held, self._clock()
        if held is not None and now < held.until:
            if now >= held.renew_at:
                self._begin(now)
            return held.lines
        fetching = self._begin(now)
        if fetching is not None:
            # Unlike awaiting it, waiting leaves the fetch alone when this exchange is cancelled.
            await asyncio.wait({fetching}, timeout=max(0.0, within_s))
            if not fetching.done():
                raise UpstreamTimeout(f"{self._name} has not come in time")
        held = self._held
        if held is not None and self._clock() < held.until:
            return held.lines
        because = "it is no longer used" if self._closed else self._failure or "it came when it was over"
        raise UpstreamUnreachable(f"there is no {self._name}: {because}", retry_after=self._pause())

    def refused(self) -> None:
        """Fetch another at the next use, since this one may have been revoked; a fresh one is given a minute."""
        held, now = self._held, self._clock()
        if held is not None and now - held.since >= _TRUSTED_S:
            self._held = msgspec.structs.replace(held, renew_at=now)

    async def aclose(self) -> None:
        """Stop a fetch; who waits for it is told that there is no token."""
        self._closed = True
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    def _pause(self) -> float | None:
        left = self._again_at - self._clock()
        return left if left > 0 else None

    def _begin(self, now: float) -> asyncio.Task[None] | None:
        """Return the fetch that goes on, a new one if it is time for it."""
        if self._fetching is None and now >= self._again_at and not self._closed:
            self._fetching = asyncio.create_task(self._renew(), name=f"fetch {self._name}")
        return self._fetching

    async def _renew(self) -> None:
        began = self._clock()
        try:
            issued = await self._fetch()
        except UpstreamError as error:
            self._failed(error)
        except Exception:  # noqa: BLE001  # whoever waits must hear of it, and the log says what it was
            _log.exception("fetching a token failed")
            self._failed(UpstreamUnreachable("fetching it failed"))
        else:
            life_s = issued.lifetime_s
            self._held = _Held(
                b"authorization: Bearer %b\r\n" % issued.value.encode("ascii"),
                since=began,
                renew_at=began + life_s - min(_AHEAD_S, life_s / 5),
                until=began + life_s - min(_SPARE_S, life_s / 20),
            )
            self._failure, self._failures, self._again_at = None, 0, 0.0
        finally:
            self._fetching = None

    def _failed(self, error: UpstreamError) -> None:
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**self._failures) * self._random.uniform(0.5, 1.0)
        self._failure = error
        self._failures = min(self._failures + 1, 10)  # what is beyond would be cut off anyway
        self._again_at = self._clock() + max(pause_s, error.retry_after or 0.0)
        _log.warning("no new token", extra={"fields": {"token": self._name, "error": str(error)}})
