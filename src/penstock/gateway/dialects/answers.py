"""What the relay asks of a dialect about answers worded in it."""

from __future__ import annotations

from typing import Protocol

from penstock.gateway.dialects.call import Call
from penstock.types.usage import Usage


class Said(Protocol):
    """What one event of a stream says, as far as steps act on it."""

    @property
    def speaks(self) -> bool:
        """Whether it brings any part of an answer."""

    @property
    def finished(self) -> int:
        """How many choices end with it."""

    @property
    def content(self) -> bool:
        """Whether it brings any part of an answer, or its end."""

    @property
    def failed(self) -> bool:
        """Whether it tells an error in spite of the stream's status 200."""


class Answers(Protocol):
    """
    Reads answers of one dialect; a module with these functions is one.

    Attributes:
        END: the event that ends a stream well, for one whose upstream left it out.
    """

    END: bytes

    def usage_of(self, body: bytes, call: Call) -> Usage:
        """
        Return the usage that a whole reply reports, or an estimate from its size.

        Raises:
            UpstreamUnusable: it is no reply.
        """

    def ordinary(self, whole: bytes, usage_wanted: bool) -> bytes:
        """Return what of some bytes goes to the client if they are one event like nearly all, else nothing."""

    def is_end(self, event: bytes) -> bool:
        """Tell whether this is the event that ends a stream well."""

    def malformed(self, event: bytes) -> bool:
        """Tell whether no client could read an event."""

    def note(self, event: bytes) -> Said | None:
        """Return what an event says; None when it is a comment or of a kind that Penstock does not know."""

    def usage_in(self, event: bytes, before: Usage) -> Usage | None:
        """
        Return the usage that an event reports, or None when it has none that can be believed.

        Args:
            before: what is known from earlier events.
        """

    def without_usage(self, event: bytes) -> bytes:
        """Return what of an event goes to a client who did not ask for usage."""
