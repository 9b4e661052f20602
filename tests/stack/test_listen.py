from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stack.listen import Listen, parse


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:8080", Listen("127.0.0.1", 8080)),
        ("0.0.0.0:0", Listen("0.0.0.0", 0)),
        ("[::1]:8080", Listen("::1", 8080)),
        ("Localhost:80", Listen("localhost", 80)),
    ],
)
def test_an_address_is_read_and_written_back(text: str, listen: Listen) -> None:
    assert parse(text) == listen
    assert parse(str(listen)) == listen


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("8080", "an address is written 127.0.0.1:8080"),
        ("::1:8080", "an address is written 127.0.0.1:8080"),
        ("http://127.0.0.1:80", "an address is written 127.0.0.1:8080"),
        (":8080", "say where to listen: 127.0.0.1:8080 for this machine, 0.0.0.0:8080 for all interfaces"),
        ("*:1", "say where to listen"),
        ("127.0.0.1:65536", "a port is a number from 0 to 65535"),
        ("127.0.0.256:1", "not an IPv4 address"),
        ("1.2.3:1", "not an IPv4 address"),
        ("[::g]:1", "not an IPv6 address"),
        ("under_score:1", "neither an IP address nor a host name"),
        ("a b:1", "neither an IP address nor a host name"),
        ("unix:/run/p.sock", "a Unix socket of your choice is not supported yet; write host:port"),
    ],
)
def test_what_is_no_address_gets_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse(text)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address_is_read_back(address: object, port: int) -> None:
    text = str(address)
    written = f"[{text}]:{port}" if ":" in text else f"{text}:{port}"
    listen = parse(written)
    assert listen.port == port
    assert parse(str(listen)) == listen


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        listen = parse(text)
    except ValueError as error:
        assert str(error)
        return
    assert parse(str(listen)) == listen
