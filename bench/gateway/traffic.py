"""
The requests of the load: prepared up front, all different, rotated.

A prompt's number is written into every single request, so that no answer can come from a cache, and sizes vary as those
of real chats do, so that no gateway profits from one length. Half of the requests carry a `traceparent`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

COUNT = 64
DIGITS = 10  # of the number that makes each request the only one of its kind
PATH = "/v1/chat/completions"
_MARK = "0" * DIGITS
_TEXT = """
the of to and a in is it you that he was for on are with as his they be at one have this from or had by hot word
but what some we can out other were all there when up use your how said an each she which do their time if will
way about many then them write would like so these her long make thing see him two has look more day could go
come did number sound no most people my over know water than call first who may down side been now find any new
work part take get place made live where after back little only round man year came show every good me give our
under gateway cluster balance latency router token parcel invoice refund customer café naïve Übergang 模型 данные
"""
_WORDS = _TEXT.split()
_SYSTEM = (
    "You are a helpful assistant.",
    "You are the support agent of a parcel service. Answer in at most three sentences and never invent a date.",
    "Classify the message that follows as one of: complaint, question, praise, spam. Answer with that word only.",
    "",
)


class Piece:
    """
    A prepared request, split where its number goes.

    Attributes:
        before, after: bytes on the wire around the number, head included.
    """

    __slots__ = ("after", "before")

    def __init__(self, whole: bytes) -> None:
        self.before, _, self.after = whole.partition(_MARK.encode())

    def whole(self, number: int) -> bytes:
        """Return the request with its number."""
        return b"%b%010d%b" % (self.before, number, self.after)


def prepare(model: str, headers: bytes, *, stream: bool = False) -> list[Piece]:
    """
    Return the prepared requests, the same in every run.

    Args:
        headers: further header lines of every request, CRLF after each.
    """
    chance = random.Random(3)
    return [Piece(_request(number, model, headers, stream, chance)) for number in range(COUNT)]


def shorter(tokens: int) -> tuple[bytes, bytes]:
    """Return what to replace by what, so that a streamed request of the same length asks for these, 99 at most."""
    return b'"max_tokens":100', b'"max_tokens":%3d' % tokens


def write(pieces: list[Piece], path: Path) -> None:
    """Write prepared requests to a file as `wrk.lua` and `read` understand it."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(b"%d %d\n%b%b" % (len(piece.before), len(piece.after), piece.before, piece.after))


def read(path: Path) -> list[Piece]:
    """Return prepared requests from a file."""
    pieces = []
    with path.open("rb") as file:
        while sizes := file.readline().split():
            pieces.append(Piece(file.read(int(sizes[0])) + _MARK.encode() + file.read(int(sizes[1]))))
    return pieces


def _request(number: int, model: str, headers: bytes, stream: bool, chance: random.Random) -> bytes:
    body = json.dumps(_body(number, model, stream, chance), ensure_ascii=False, separators=(",", ":")).encode()
    lines = b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n" % PATH.encode()
    lines += b"accept: application/json\r\nuser-agent: bench/1\r\n" + headers
    if number % 2:
        trace, span = (chance.getrandbits(bits) for bits in (128, 64))
        lines += f"traceparent: 00-{trace:032x}-{span:016x}-01\r\n".encode()
    return b"%bcontent-length: %d\r\n\r\n%b" % (lines, len(body), body)


def _body(number: int, model: str, stream: bool, chance: random.Random) -> dict[str, object]:
    turns = [{"role": "system", "content": _SYSTEM[number % len(_SYSTEM)]}] if _SYSTEM[number % len(_SYSTEM)] else []
    for _ in range(chance.choice((0, 0, 0, 1, 2))):  # what was said before
        turns.append({"role": "user", "content": _prose(chance)})
        turns.append({"role": "assistant", "content": _prose(chance)})
    turns.append({"role": "user", "content": f"No. {_MARK}: {_prose(chance)}"})
    body: dict[str, object] = {"model": model, "messages": turns}
    if number % 3:
        body["max_tokens"] = chance.choice((64, 256, 1024))
    if number % 5 < 3:
        body["temperature"] = round(chance.random(), 2)
    if stream:
        body |= {"stream": True, "max_tokens": 100}
        if number % 4 < 2:
            body["stream_options"] = {"include_usage": True}
    return body


def _prose(chance: random.Random) -> str:
    """Return 6 to 200 words, short prompts more often than long ones."""
    return " ".join(chance.choice(_WORDS) for _ in range(int(6 * 33 ** chance.random())))
