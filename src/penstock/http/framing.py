"""Where replies begin and end in the bytes of a connection: llhttp, with bounds. No I/O."""

from __future__ import annotations

import re
from typing import Final

import httptools

HEAD_BYTES: Final = 64 * 1024
"""Bound of a reply's head, interim replies included, and of what comes between two bytes of a body (trailers, say)."""

HEADER_COUNT: Final = 200

_REMEMBERED: Final = 4096  # bytes of a head that is kept for comparison with the next
_DIGITS: Final = 19
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)

# The stages of a `Framing`.
IDLE: Final = 0  # no reply is expected
HEAD: Final = 1  # before the end of the head
BODY: Final = 2
DONE: Final = 3  # the reply is complete
DEAD: Final = 4  # broken, or broken off: nothing more can be read


class Framing:
    """
    The reply in progress on one connection, and one after another the next.

    An upstream repeats itself: a reply that comes in one piece, with a head that equals the last one byte for byte
    around the digits of its Content-Length, is cut without being taken apart.

    Attributes:
        stage: see above.
        problem: what is wrong with the reply, when `feed` made the stage DEAD; with its `cause`.
        status: 0 before the end of the head.
        headers: names in lower case, repeated ones joined by a comma.
        size: bytes of the body that wait to be taken.
        touched: a byte of the reply has come, if only of an interim one.
        began: the bytes have stopped inside a head.
        keep_alive: another reply may follow this one.
    """

    __slots__ = (
        "_after",
        "_before",
        "_between",
        "_chunks",
        "_fed",
        "_known",
        "_no_body",
        "_parser",
        "_repeated",
        "_until_eof",
        "began",
        "cause",
        "headers",
        "keep_alive",
        "problem",
        "size",
        "stage",
        "status",
    )

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.problem = ""
        self.cause: Exception | None = None
        self._before = b"\x00"  # the head of the last reply that came in one piece, around its length
        self._after = b""
        self._known: tuple[int, dict[bytes, bytes]] = (0, {})
        self.begin()
        self.stage = IDLE

    def begin(self, no_body: bool = False) -> None:
        """
        Expect a reply.

        Args:
            no_body: it has none whatever its headers say, as it answers HEAD.
        """
        self.stage = HEAD
        self._no_body = no_body
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self._repeated = 0  # headers that were joined to one of the same name
        self._fed = 0  # bytes since the request, up to the end of the head
        self.began = False
        self._until_eof = False
        self.keep_alive = False
        self._chunks: list[bytes] = []
        self.size = 0
        self._between = 0  # bytes since the last of the body

    @property
    def touched(self) -> bool:
        return self._fed > 0

    def rest(self) -> None:
        """Expect none; hold nothing of the last."""
        self.stage = IDLE
        self.headers = {}
        self._chunks = []

    def abandon(self) -> None:
        """Read no more; what has come of the body may still be taken."""
        self.stage = DEAD

    def release(self) -> None:
        """Let go of the parser, which holds our methods; else we would wait for the garbage collector."""
        self._parser = None

    def feed(self, data: bytes) -> None:
        """Read on, in stage HEAD or BODY."""
        parser = self._parser
        if parser is None:
            return
        size = self.size
        try:
            if self.stage == HEAD:
                if data.startswith(self._before) and not self._fed and not self._no_body and self._known_reply(data):
                    return
                self._fed += len(data)
                if self._fed > HEAD_BYTES:
                    self._feed_end_of_head(parser, data)
                else:
                    parser.feed_data(data)
                    if self.stage == DONE and self.keep_alive and self._fed == len(data):
                        self._remember(data)
                return
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.stage == DONE:
                self.keep_alive = False  # what follows the reply is nobody's
            else:
                switches = isinstance(error, httptools.HttpParserUpgrade)
                self._broken("it switches protocols" if switches else str(error), error)
        if self.size != size:
            self._between = 0
            return
        self._between += len(data)
        if self._between > HEAD_BYTES and self.stage == BODY:
            self._broken(f"more than {HEAD_BYTES // 1024} KiB without any of its body")

    def _known_reply(self, data: bytes) -> bool:
        """Take a whole reply whose head is known; it starts with the known beginning. False when it is another."""
        after = self._after
        start = len(self._before)
        end = data.find(after, start, start + _DIGITS + len(after))
        if end < 0:
            return False
        digits = data[start:end]
        body = data[end + len(after) :]
        if not digits.isdigit() or int(digits) != len(body) or not body:
            return False
        self._fed = len(data)
        self.began = True
        self.status, headers = self._known
        self.headers = headers.copy()
        self.headers[b"content-length"] = digits
        self.keep_alive = True
        self._chunks.append(body)
        self.size = len(body)
        self.stage = DONE
        return True

    def _remember(self, data: bytes) -> None:
        """Keep the head of a reply that came in one piece and leaves the connection open."""
        end = data.find(b"\r\n\r\n") + 4
        found = _CONTENT_LENGTH.search(data, 0, end)
        # Not that of an interim reply, nor of one whose status says that it has no body (204, 304).
        if found is not None and end <= _REMEMBERED and 0 < self.size == int(found[1]) == len(data) - end:
            self._before, self._after = data[: found.start(1)], data[found.end(1) : end]
            self._known = (self.status, self.headers)

    def _feed_end_of_head(self, parser: httptools.HttpResponseParser, data: bytes) -> None:
        """The head must end within what is left of its bound."""
        room = HEAD_BYTES - (self._fed - len(data))
        parser.feed_data(data[:room])
        if self.stage == HEAD:
            self._broken(f"its head is over {HEAD_BYTES // 1024} KiB")
        elif self.stage != DEAD:
            parser.feed_data(data[room:])

    def end(self) -> None:
        """The connection was closed in good order; for some replies that is the end of the body."""
        if self.stage == BODY and self._until_eof:
            self.stage = DONE

    def take(self) -> bytes:
        """Take what has come of the body; b"" when nothing waits."""
        chunks = self._chunks
        if not chunks:
            return b""
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.size = 0
        return data

    def put_back(self, data: bytes) -> None:
        """Undo a `take`."""
        self._chunks.append(data)
        self.size = len(data)

    def _broken(self, problem: str, cause: Exception | None = None) -> None:
        if self.stage != DEAD:
            self.stage = DEAD
            self.problem = problem
            self.cause = cause

    # What the parser calls. Nothing here raises: the parser would keep the exception and its frames.

    def on_message_begin(self) -> None:
        self.began = True
        if self.stage != HEAD:
            self.keep_alive = False  # a reply to nothing follows the one we asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.stage != HEAD:
            return  # a trailer
        headers = self.headers
        name = name.lower()
        if name in headers:
            self._repeated += 1
            value = headers[name] + b", " + value
        headers[name] = value.rstrip()

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self.stage != HEAD or parser is None:
            return
        status = parser.get_status_code()
        headers = self.headers
        if len(headers) + self._repeated > HEADER_COUNT:
            self._broken(f"more than {HEADER_COUNT} headers")
        elif status < 100:
            self._broken(f"its status is {status}")
        elif status < 200:
            self.headers = {}
        else:
            coding = headers.get(b"transfer-encoding")
            if coding is not None and coding.lower() != b"chunked":
                self._broken("its transfer coding is not chunked")
                return
            self.status = status
            self._until_eof = coding is None and b"content-length" not in headers
            # The parser cannot be told that this reply has no body, so it is of no use for another one.
            self.keep_alive = parser.should_keep_alive() and not self._no_body
            self.stage = DONE if self._no_body else BODY

    def on_body(self, body: bytes) -> None:
        if self.stage == BODY:
            self._chunks.append(body)
            self.size += len(body)
        elif self.stage == HEAD:
            self._broken("an interim reply has a body")

    def on_message_complete(self) -> None:
        if self.stage == BODY:
            self.stage = DONE
        elif self.stage == HEAD:
            self.began = False  # of an interim reply; the real one is still to come
