"""What the relay asks of a translation."""

from __future__ import annotations

from typing import Protocol

from penstock.gateway.dialects.call import Call
from penstock.types.usage import Usage


class Translation(Protocol):
    """
    Carries one attempt of an exchange from the client's dialect to the upstream's, and its answer back.

    Made anew for every attempt, used by one task, does no I/O. What it does not know in an answer it leaves out; what
    it cannot carry of a request it refuses, or names in `dropped` where the answer only becomes less like what was
    wished.

    Attributes:
        usage: what the upstream has reported so far, in the words of its own dialect; None before.
        dropped: names of the request's top-level fields that had no counterpart and were left out.
    """

    usage: Usage | None
    dropped: tuple[str, ...]

    def __init__(self, call: Call, model: str, cap_name: str, capped: bool) -> None:
        """
        Args:
            call: the client's request, checked by its own dialect's parser.
            model: the name to ask the upstream for.
            cap_name: what an upstream that speaks `chat` calls the cap of its output.
            capped: a cap of `OUTPUT_BOUND` tokens is to be put in where the client set none.
        """

    def request(self) -> bytes:
        """
        Return the body for the upstream; usage is asked for in streams.

        Raises:
            InvalidRequest: the request is malformed in a part that had to be read, or asks for something that the
                upstream's dialect cannot express and that cannot be left out (code `unsupported_parameter`); `param`
                names the field.
        """

    def reply(self, body: bytes) -> bytes:
        """
        Return a whole reply in the client's dialect.

        Raises:
            UpstreamUnusable: it is not a reply.
        """

    def events(self, whole: bytes) -> bytes:
        """
        Return what the client is told on some whole events of the upstream, which may be nothing yet.

        The upstream's own end (`[DONE]`, `message_stop`) becomes that of the client's dialect.

        Raises:
            UpstreamFailed: an event cannot be read.
            UpstreamError: it is the upstream's own error event; as if by the status that it names.
        """

    def end(self) -> bytes:
        """
        Return what is left to tell when the upstream's stream is over: nothing after its own end; the end of the
        client's dialect where the upstream left out its own but had finished its answer.

        Raises:
            UpstreamFailed: the stream was cut off.
        """
