"""
The chunked transfer coding of a request, decoded strictly.

llhttp splits chunks too, but bounds neither chunk extensions nor trailers and reads on into the next pipelined request;
this decoder stops exactly at the end of the body.
"""

from __future__ import annotations

import re

from penstock.types.errors import BodyTooLarge, InvalidRequest

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[\t -~\x80-\xff]*)?")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t -~\x80-\xff]*")
# What says where a message ends or goes has no place behind it (RFC 9110, 6.5.1): whoever else reads it may believe it.
_NO_TRAILERS = frozenset({b"content-length", b"host", b"transfer-encoding"})

_LINE_BYTES = 512  # a chunk size with its extensions
_EXTENSION_BYTES = 16 * 1024  # all extensions of a body together; nobody needs one, they only make work

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class ChunkedDecoder:
    """
    Takes a body out of its chunks, however they arrive. One per body; trailers are checked and dropped.

    Attributes:
        done: the last chunk and the trailers have been read.
    """

    __slots__ = ("_extensions", "_left", "_line", "_max_body", "_max_trailers", "_stage", "_trailers", "done")

    def __init__(self, max_body: int, max_trailers: int) -> None:
        self._max_body = max_body
        self._max_trailers = max_trailers
        self._stage = _SIZE
        self._left = 0  # bytes missing of the current chunk
        self._line = bytearray()  # a size or trailer line that has not ended yet
        self._extensions = 0
        self._trailers = 0
        self.done = False

    def feed(self, data: bytes | bytearray, into: bytearray) -> int:
        """
        Decode `data` onto the end of `into`.

        Returns:
            How many bytes of `data` belong to the body; less than all of them only at its end.
        Raises:
            InvalidRequest: the coding is malformed or its extensions or trailers are too long.
            BodyTooLarge: a chunk was announced that leads over the limit.
        """
        at, size = 0, len(data)
        while at < size and not self.done:
            if self._stage == _DATA:
                take = min(self._left, size - at)
                into += data[at : at + take]
                at += take
                self._left -= take
                if not self._left:
                    self._stage = _DATA_END
                continue
            end = data.find(b"\n", at)
            stop = size if end < 0 else end + 1
            self._line += data[at:stop]
            at = stop
            self._check_length()
            if end >= 0:
                self._end_line(len(into))
        return at

    def _check_length(self) -> None:
        if self._stage == _TRAILERS:
            if self._trailers + len(self._line) > self._max_trailers:
                raise InvalidRequest("The trailers of the chunked body are too long.")
        elif len(self._line) > (2 if self._stage == _DATA_END else _LINE_BYTES):
            raise InvalidRequest("The body is not valid in chunked coding: a chunk size line is malformed or too long.")

    def _end_line(self, decoded: int) -> None:
        """Act on the line that has just ended; `decoded` bytes of body were received before it."""
        line = bytes(self._line)
        self._line.clear()
        if not line.endswith(b"\r\n"):
            raise InvalidRequest("The body is not valid in chunked coding: a line does not end in CRLF.")
        text = line[:-2]
        if self._stage == _DATA_END:
            if text:
                raise InvalidRequest("The body is not valid in chunked coding: a chunk is longer than its size.")
            self._stage = _SIZE
        elif self._stage == _SIZE:
            self._start_chunk(text, decoded)
        elif text:
            self._trailers += len(line)
            match = _TRAILER.fullmatch(text)
            if match is None or match[1].lower() in _NO_TRAILERS:
                raise InvalidRequest("The chunked body has a trailer that is malformed or not allowed.")
        else:
            self._stage = _DONE
            self.done = True

    def _start_chunk(self, text: bytes, decoded: int) -> None:
        match = _SIZE_LINE.fullmatch(text)
        if match is None:
            raise InvalidRequest("The body is not valid in chunked coding: a chunk size is malformed.")
        self._extensions += len(match[2] or b"")
        if self._extensions > _EXTENSION_BYTES:
            raise InvalidRequest("The chunk extensions of the body are too long.")
        self._left = int(match[1], 16)
        if decoded + self._left > self._max_body:
            raise BodyTooLarge(f"The body is over {self._max_body} bytes.")
        self._stage = _DATA if self._left else _TRAILERS
