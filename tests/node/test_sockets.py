import contextlib
import os
import socket
import stat
import threading
from pathlib import Path

import pytest

from penstock.node.sockets import listen_tcp, listen_tcp_for, listen_unix
from penstock.types.errors import StartError
from penstock.types.home import SOCKET_NAME, Home


def test_a_taken_port_is_one_clear_sentence() -> None:
    with listen_tcp(("127.0.0.1", 0), "x") as first:
        port = first.getsockname()[1]
        with pytest.raises(StartError) as caught:
            listen_tcp(("127.0.0.1", port), "gateway.listen in penstock.yaml")
    assert str(caught.value) == (f"127.0.0.1:{port} is in use by another program (gateway.listen in penstock.yaml)")


def test_a_port_that_becomes_free_is_waited_for() -> None:
    first = listen_tcp(("127.0.0.1", 0), "x")
    port = first.getsockname()[1]
    threading.Timer(0.05, first.close).start()
    with listen_tcp(("127.0.0.1", port), "x", patience_s=30) as second:
        assert second.getsockname()[1] == port


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (("192.0.2.1", 0), r"192\.0\.2\.1:0 is not an address of this machine \(here\)"),
        (("no\ud800host", 1), "is not an address of this machine"),
        (("256.1.1.1.", 80), "is not an address of this machine"),
    ],
)
def test_what_cannot_be_listened_on(address: tuple[str, int], sentence: str) -> None:
    with pytest.raises(StartError, match=sentence):
        listen_tcp(address, "here")


def test_ipv6_is_listened_on_and_named_in_brackets() -> None:
    try:
        first = listen_tcp(("::1", 0), "x")
    except StartError:
        pytest.skip("this machine has no IPv6")
    with first, pytest.raises(StartError, match=r"^\[::1\]:\d+ is in use"):
        listen_tcp(("::1", first.getsockname()[1]), "x")


def test_a_unix_socket_is_for_our_user_and_replaces_a_stale_one(home: Home) -> None:
    listen_unix(home.gateway_socket).close()
    with listen_unix(home.gateway_socket), socket.socket(socket.AF_UNIX) as client:
        assert stat.S_IMODE(home.gateway_socket.stat().st_mode) == 0o600
        client.connect(str(home.gateway_socket))


def test_a_path_too_long_for_a_socket_is_one_clear_sentence(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(StartError, match=r"cannot listen on .*too long"):
        listen_unix(path)


def test_sockets_of_a_deep_home_fit_into_the_kernels_limit() -> None:
    near = Home(Path("/home/somebody/.penstock"))
    assert near.run == Path("/home/somebody/.penstock/run")
    deep = Home(Path("/" + "d" * 90))
    longest = deep.run / ("n" * SOCKET_NAME)
    assert len(os.fsencode(longest)) <= 107
    assert deep.run == Home(Path("/" + "d" * 90)).run != Home(Path("/" + "d" * 91)).run


def test_several_listeners_share_a_port_and_its_connections() -> None:
    listeners = listen_tcp_for(3, ("127.0.0.1", 0), "x")
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        ports = {listener.getsockname()[1] for listener in listeners}
        assert len(ports) == 1
        port = ports.pop()
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        counts = [_waiting(listener, stack) for listener in listeners]
        assert sum(counts) == 60
        assert min(counts) > 0
        for count in (1, 3):  # another Penstock, with as many workers or fewer
            with pytest.raises(StartError, match="in use by another program"):
                listen_tcp_for(count, ("127.0.0.1", port), "gateway.listen in penstock.yaml")


def test_one_listener_is_for_itself() -> None:
    (listener,) = listen_tcp_for(1, ("127.0.0.1", 0), "x")
    with listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0


def _waiting(listener: socket.socket, stack: contextlib.ExitStack) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            stack.enter_context(listener.accept()[0])
            count += 1
    return count
