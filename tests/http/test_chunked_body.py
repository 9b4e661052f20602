"""The chunked decoder alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.http.chunked_body import ChunkedDecoder
from penstock.types.errors import BodyTooLarge, ExchangeError, InvalidRequest


def _encode(chunks: list[bytes], extension: bytes) -> bytes:
    whole = b"".join(b"%x%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks)
    return whole + b"0\r\n\r\n"


@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=8),
    st.sampled_from([b"", b";a", b" ;a=b", b';q="x y"']),
    st.binary(max_size=20),
    st.data(),
)
def test_what_is_encoded_is_decoded_however_it_is_split(
    chunks: list[bytes], extension: bytes, behind: bytes, data: st.DataObject
) -> None:
    wire = _encode(chunks, extension)
    decoder = ChunkedDecoder(1000, 1000)
    body = bytearray()
    left = wire + behind
    while not decoder.done:
        piece = left[: data.draw(st.integers(1, len(left)))]
        taken = decoder.feed(piece, body)
        assert taken == len(piece) or decoder.done
        left = left[taken:]
    assert body == b"".join(chunks)
    assert left == behind


@given(st.lists(st.sampled_from([b"3", b"\r\n", b"abc", b"0", b";x", b"\n", b"\r", b"T: 1", b" "]) | st.binary()))
def test_no_bytes_harm_the_decoder_and_splits_do_not_matter(pieces: list[bytes]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[bytes, int | None, type[ExchangeError] | None]:
        decoder, body, taken = ChunkedDecoder(10, 20), bytearray(), 0
        try:
            for piece in pieces:
                taken += decoder.feed(piece, body)
        except ExchangeError as error:
            return b"", None, type(error)
        return bytes(body), taken, None

    whole = b"".join(pieces)
    assert outcome(pieces) == outcome([whole]) == outcome([whole[at : at + 1] for at in range(len(whole))])


def test_the_limit_is_seen_at_the_announcement() -> None:
    body = bytearray()
    with pytest.raises(BodyTooLarge):
        ChunkedDecoder(9, 100).feed(b"5\r\nabcde\r\n5\r\n", body)
    assert body == b"abcde"
    decoder = ChunkedDecoder(10, 100)
    decoder.feed(b"5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n", bytearray())
    assert decoder.done


def test_trailers_are_limited() -> None:
    with pytest.raises(InvalidRequest):
        ChunkedDecoder(9, 20).feed(b"0\r\nA: 123456\r\nB: 123456\r\n\r\n", bytearray())
    decoder = ChunkedDecoder(9, 30)
    decoder.feed(b"0\r\nA: 123456\r\nB: 123456\r\n\r\n", bytearray())
    assert decoder.done


@pytest.mark.parametrize("line", [b"Transfer-Encoding: chunked", b"content-length: 5", b"HOST: elsewhere"])
def test_a_trailer_that_would_frame_or_route_is_refused(line: bytes) -> None:
    with pytest.raises(InvalidRequest):
        ChunkedDecoder(9, 100).feed(b"0\r\n" + line + b"\r\n\r\n", bytearray())
