"""What an exchange asks, for the choice of a replica, and the note of it with the replica that was chosen."""

from __future__ import annotations

from types import TracebackType

from penstock.gateway.exchange import Exchange
from penstock.gateway.routing.prefix import Prefix, prefix_of
from penstock.gateway.routing.session import session_of
from penstock.gateway.upstream.endpoint import Endpoint


class Asking:
    """
    An exchange as ways to choose a replica see it; see `routing.candidate.Ask`. One for each deployment that is tried.

    Around the time at a replica it is a block: within, the exchange counts as one of the replica's, which knows of a
    prompt that was looked at for the choice, and has it to read until `begun`.

    Attributes:
        endpoint: the replica that was chosen last.
    """

    __slots__ = ("_exchange", "_prefix", "_unread", "endpoint", "now", "turn", "workers")
    endpoint: Endpoint

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._prefix: Prefix | None = None
        self._unread = 0
        self.turn, self.now, self.workers = 0, 0.0, 1

    @property
    def prefix(self) -> Prefix:
        """The prompt."""
        if self._prefix is None:
            self._prefix = prefix_of(self._exchange.call)
        return self._prefix

    @property
    def session(self) -> int | None:
        """The session, if it has one."""
        exchange = self._exchange
        return session_of(exchange.account.caller.tenant, exchange.session, exchange.call)

    @property
    def opener(self) -> str:
        """The replica that can open what it has sealed for the exchange, by name, or nothing."""
        claim = self._exchange.claim
        return "" if claim is None else claim.replica

    def begun(self) -> None:
        """Note that the prompt has been read, since an answer to it has begun."""
        if self._unread:
            self.endpoint.prompts.reading -= self._unread
            self._unread = 0

    def __enter__(self) -> None:
        prefix, chosen = self._prefix, self.endpoint
        chosen.outstanding += 1
        if prefix is not None and prefix.blocks:
            self._unread = chosen.prompts.add(prefix)
            chosen.prompts.reading += self._unread
            known = f"{chosen.name} knows {prefix.size - self._unread} of {prefix.size} bytes of the prompt"
            self._exchange.account.explain("replica", known)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.endpoint.outstanding -= 1
        if self._unread:
            self.begun()
