from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stack.url import local, parse, written
from penstock.types.address import Address

HERE = Path("/srv")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("https://api.openai.com/v1", Address("api.openai.com", 443, tls=True, path="/v1")),
        ("https://api.openai.com/v1/", Address("api.openai.com", 443, tls=True, path="/v1")),
        ("http://127.0.0.1:8000", Address("127.0.0.1", 8000)),
        ("http://vllm_1:8000/a%20b", Address("vllm_1", 8000, path="/a%20b")),
        ("http://[::1]:8000/v1", Address("::1", 8000, path="/v1")),
        ("HTTPS://Example.COM", Address("example.com", 443, tls=True)),
        ("unix:/run/v.sock", Address(unix="/run/v.sock", path="/v1")),
        ("unix:run/v.sock:/api", Address(unix="/srv/run/v.sock", path="/api")),
        ("unix:/run/v.sock:/", Address(unix="/run/v.sock", path="")),
    ],
)
def test_a_base_url_is_taken_apart_and_written_back(text: str, address: Address) -> None:
    assert parse(text, HERE) == address
    assert parse(written(address), HERE) == address


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("api.openai.com/v1", "a base_url is written https://host/v1"),
        ("ftp://host", "a base_url is written https://host/v1"),
        ("https://", "a base_url is written https://host/v1"),
        ("https:///v1", "a base_url is written https://host/v1"),
        ("https://host:99999", "a base_url is written https://host/v1"),
        ("https://[::1/v1", "a base_url is written https://host/v1"),
        ("unix:", "a base_url is written https://host/v1"),
        ("https://me:hunter2@host/v1", "holds no user name or password"),
        ("https://host/v1?key=hunter2", r"no query \(\?\)"),
        ("https://host/v1#", r"no fragment \(#\)"),
        ("https://host:0", "from 1 to 65535"),
        ("https://ho st/v1", "neither an IP address nor a host name"),
        ("https://münchen.de", "write it in ASCII"),
        ("https://1.2.3.400", "not an IPv4 address"),
        ("https://host/a b", "percent-encoded"),
        ("https://host/ä", "percent-encoded"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
    ],
)
def test_what_is_no_base_url_gets_a_sentence_that_does_not_repeat_it(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        parse(text, HERE)
    assert "hunter2" not in str(caught.value)


@given(st.text(max_size=60) | st.text(max_size=40).map("https://{}".format))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        address = parse(text, HERE)
    except ValueError as error:
        assert str(error)
        return
    assert not set("\r\n \x00") & set(address.host + address.path)
    assert parse(written(address), HERE) == address


@pytest.mark.parametrize(
    ("text", "stays"),
    [
        ("unix:/x", True),
        ("http://localhost:1", True),
        ("http://127.9.9.9", True),
        ("http://[::1]", True),
        ("http://10.0.0.1", False),
        ("http://vllm", False),
    ],
)
def test_what_stays_on_this_machine(text: str, stays: bool) -> None:
    assert local(parse(text, HERE)) is stays
