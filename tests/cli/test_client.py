"""The commands' HTTP client: its addresses, and what it makes of each thing that can go wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.cli.client import Endpoint, Refused, Unreachable, call, stream
from penstock.types.home import Home
from tests.cli.conftest import Answer, Fake, Remote


def test_addresses() -> None:
    plain = Endpoint.address("http://127.0.0.1:8080/v1/", "k")
    assert (plain.host, plain.port, plain.tls, plain.key) == ("127.0.0.1", 8080, False, "k")
    secure = Endpoint.address("https://models.example", None)
    assert (secure.host, secure.port, secure.tls) == ("models.example", 443, True)
    assert Endpoint.address("http://[::1]:81", None).host == "::1"


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8080", "ftp://x", "http://", "http://u:p@x", "http://x/admin", "http://x?a=1", "http://x:99999"],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|[Pp]ort"):
        Endpoint.address(url, None)


@pytest.mark.parametrize("key", ["a\nb", "a\r\nx: y", "clé"])
def test_a_key_that_cannot_be_sent_is_not_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="a key has") as caught:
        Endpoint.address("http://x", key)
    assert key not in str(caught.value)


def test_json_both_ways(home: Home, admin: Fake) -> None:
    admin.routes["POST /x"] = lambda call: Answer({"got": call.json()}, status=201)
    assert call(Endpoint.socket(home.admin_socket), "POST", "/x", {"a": [1]}) == {"got": {"a": [1]}}
    assert admin.calls[0].headers["Content-Type"] == "application/json"
    assert "Authorization" not in admin.calls[0].headers


def test_an_empty_answer_is_none(home: Home, admin: Fake) -> None:
    admin.routes["DELETE /x"] = Answer(status=204)
    assert call(Endpoint.socket(home.admin_socket), "DELETE", "/x") is None


def test_the_key_goes_to_a_remote_port(remote: Remote) -> None:
    remote.fake.routes["GET /x"] = Answer([1])
    assert call(Endpoint.address(remote.url, "sk-1"), "GET", "/x") == [1]
    assert remote.fake.calls[0].headers["Authorization"] == "Bearer sk-1"


def test_the_servers_sentence_is_the_error(home: Home, admin: Fake) -> None:
    admin.routes["GET /x"] = Answer({"error": {"message": "no such key", "type": "x"}}, status=404)
    with pytest.raises(Refused, match=r"^no such key$") as caught:
        call(Endpoint.socket(home.admin_socket), "GET", "/x")
    assert caught.value.status == 404


@pytest.mark.parametrize("value", [None, [], {"error": "text"}, {"error": {"message": 3}}])
def test_an_error_without_a_sentence_gets_one(home: Home, admin: Fake, value: object) -> None:
    admin.routes["GET /x"] = Answer(value, status=502)
    with pytest.raises(Refused, match=r"admin\.sock answered 502 Bad Gateway"):
        call(Endpoint.socket(home.admin_socket), "GET", "/x")


def test_what_is_no_json(home: Home, admin: Fake) -> None:
    admin.routes["GET /x"] = Answer(pieces=[b"<html>"])
    with pytest.raises(Refused, match="did not answer with JSON"):
        call(Endpoint.socket(home.admin_socket), "GET", "/x")


def test_nobody_there(home: Home) -> None:
    with pytest.raises(Unreachable, match=r"nothing answers at .*admin\.sock; is `penstock up` running"):
        call(Endpoint.socket(home.admin_socket), "GET", "/x")


def test_a_socket_left_behind(home: Home) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(home.admin_socket))
    with pytest.raises(Unreachable, match="nothing answers"):
        call(Endpoint.socket(home.admin_socket), "GET", "/x")


def test_a_refused_port() -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match=f"^nothing answers at {url}$"):
            call(Endpoint.address(url, None), "GET", "/x")


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="cannot be reached"):
        call(Endpoint.socket(tmp_path / ("x" * 120)), "GET", "/x")


def test_a_stream_comes_line_by_line(home: Home, gateway: Fake) -> None:
    gateway.routes["POST /s"] = Answer(pieces=[b"one\ntw", b"o\n", b"three"])
    with stream(Endpoint.socket(home.gateway_socket), "/s", {}) as lines:
        assert list(lines) == [b"one\n", b"two\n", b"three"]


def test_a_torn_stream(home: Home, gateway: Fake) -> None:
    gateway.routes["POST /s"] = Answer(pieces=[b"one\n"], torn=True)
    with stream(Endpoint.socket(home.gateway_socket), "/s", {}) as lines:
        assert next(lines) == b"one\n"
        with pytest.raises(Unreachable, match="closed the connection before"):
            next(lines)


def test_leaving_a_stream_hangs_up(home: Home, gateway: Fake) -> None:
    def forever() -> Answer:
        def pieces() -> Iterator[bytes]:
            while True:
                yield b"x" * 65536 + b"\n"

        return Answer(pieces=pieces())

    gateway.routes["POST /s"] = lambda _call: forever()
    with stream(Endpoint.socket(home.gateway_socket), "/s", {}) as lines:
        next(lines)
    assert gateway.hung_up.wait(30)


def test_errors_of_the_reader_are_its_own(home: Home, gateway: Fake) -> None:
    gateway.routes["POST /s"] = Answer(pieces=[b"one\n"])
    with pytest.raises(BrokenPipeError), stream(Endpoint.socket(home.gateway_socket), "/s", {}):
        raise BrokenPipeError
