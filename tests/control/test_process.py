"""Control as a process of its own, started as a node starts it."""

import asyncio
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from penstock.journal.segment import Writer
from penstock.snapshot.config import Config
from penstock.snapshot.file import Reader
from penstock.snapshot.fleet import Desired
from penstock.snapshot.principals import Principals
from penstock.telemetry.link import CANNOT_START, Alive, Message, Notice, Ready, receive
from tests.records.exchanges import opened, settled

DEADLINE_S = 60.0


class Control:
    """
    A running control process.

    Attributes:
        told: what it sent on its link but that it lives, the last being `Ready`.
    """

    def __init__(self, home: Path, process: subprocess.Popen[bytes], tcp: socket.socket, node: socket.socket) -> None:
        self.home = home
        self.process = process
        self.node = node
        self._tcp = tcp
        self.told: list[Message] = []

    def wait_ready(self) -> None:
        async def listen() -> None:
            end = asyncio.Event()

            def handle(message: Message) -> None:
                if isinstance(message, Alive):
                    return
                self.told.append(message)
                if isinstance(message, Ready):
                    end.set()

            # A copy, so that the node's end stays open: to control, its closing would mean that the node has gone.
            reading = asyncio.create_task(receive(self.node.dup(), handle))
            ready = asyncio.create_task(end.wait())
            await asyncio.wait({reading, ready}, timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, ready):
                task.cancel()
            await asyncio.gather(reading, ready, return_exceptions=True)

        asyncio.run(listen())
        assert isinstance(self.told[-1], Ready)

    def notice(self, name: str) -> str | None:
        return next((told.text for told in self.told if isinstance(told, Notice) and told.name == name), None)

    def call(self, method: str, path: str, key: str | None = None, body: object = None) -> tuple[int, Any]:
        """Ask over TCP with a key, over the Unix socket without."""
        if key is None:
            connection = http.client.HTTPConnection("localhost", timeout=DEADLINE_S)
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(self.home / "admin.sock"))
        else:
            host, port = self._tcp.getsockname()
            connection = http.client.HTTPConnection(host, port, timeout=DEADLINE_S)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {**headers, "content-type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, json.loads(text) if text else None

    def end(self) -> tuple[int, str]:
        """Wait until it has ended; return its status and what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, errors.decode()


@contextmanager
def control(home: Path, *arguments: str, environ: dict[str, str] | None = None, link: bool = True) -> Iterator[Control]:
    home.mkdir(exist_ok=True)
    (home / "admin.sock").unlink(missing_ok=True)
    node, child = socket.socketpair()
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as unix,
        node,
        child,
    ):
        unix.bind(str(home / "admin.sock"))
        unix.listen()
        handed = {"--admin": tcp.fileno(), "--local": unix.fileno(), "--link": child.fileno() if link else -1}
        command = [sys.executable, "-m", "penstock.control", "--home", str(home), *arguments]
        for name, number in handed.items():
            command += [name, str(number)]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        process = subprocess.Popen(
            command,
            pass_fds=[number for number in handed.values() if number >= 0],
            env={**clean, **(environ or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        child.close()
        try:
            yield Control(home, process, tcp, node)
        finally:
            process.kill()
            process.communicate()


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_a_first_start_shows_keys_that_work_and_publishes_everything(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with control(home) as first:
        first.wait_ready()
        client, admin = first.notice("first_key"), first.notice("admin_key")
        assert client is not None
        assert admin is not None
        principals = Reader(home / "snapshot", Principals).changed()
        assert principals is not None
        assert list(principals.keys) == [client.split("-")[2]]
        assert Reader(home / "snapshot", Config).changed() is not None
        assert Reader(home / "snapshot", Desired).changed() is not None
        assert first.call("GET", "/admin/v1/status", admin)[0] == 200
        assert first.call("GET", "/admin/v1/status", client)[0] == 403
        assert first.call("GET", "/admin/v1/status", admin + "x")[0] == 401
        status, listing = first.call("GET", "/admin/v1/keys")  # over the Unix socket
        assert status == 200
        assert [key["name"] for key in listing["keys"]] == ["first", "first"]
        assert psutil.Process(first.process.pid).cmdline()[0].startswith("penstock control")
        first.process.send_signal(signal.SIGTERM)
        status, errors = first.end()
        assert status == 0
    kept = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file()) + errors.encode()
    for key in (client, admin):
        assert key[-43:].encode() not in kept
    for name in ("penstock.db", "secret.key", "control.lock"):
        assert (home / name).stat().st_mode & 0o077 == 0

    with control(home) as second:
        second.wait_ready()
        assert second.told == [Ready()]  # keys are shown once
        assert second.call("GET", "/admin/v1/status", admin)[0] == 200
        again = Reader(home / "snapshot", Principals).changed()
        assert again == principals


def test_the_environment_sets_the_first_admin_key_and_usage_is_up_to_date(tmp_path: Path) -> None:
    home, key = tmp_path / "home", "chosen by the operator"
    with control(home, environ={"PENSTOCK_ADMIN_KEY": key}) as one:
        one.wait_ready()
        assert one.notice("admin_key") is None
        assert one.notice("first_key") is not None
        assert one.call("GET", "/admin/v1/keys", key)[0] == 200
        assert one.call("GET", "/admin/v1/keys", "chosen by another")[0] == 401
        writer = Writer(home / "journal", "0")
        for number in range(20):
            writer.append(settled(number))
            assert one.call("GET", "/admin/v1/usage", key)[1]["totals"]["requests"] == number + 1
        writer.close()
        one.node.close()
        assert one.end()[0] == 0  # control ends when its node does


def test_without_a_node_keys_are_printed_and_what_is_left_is_folded_at_the_end(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with control(home, link=False) as one:
        assert one.process.stdout is not None
        lines = [one.process.stdout.readline().decode().split() for _ in range(2)]
        assert [name for name, _ in lines] == ["first_key", "admin_key"]
        assert one.call("GET", "/admin/v1/keys", lines[1][1])[0] == 200
        writer = Writer(home / "journal", "0")
        for number in range(500):
            writer.append(opened(number))
            writer.append(settled(number))
        one.process.send_signal(signal.SIGTERM)
        assert one.end()[0] == 0
    writer.close()
    assert entries(home) == {f"req-{number:06d}": "answered" for number in range(500)}


def test_a_second_control_of_a_directory_is_refused(tmp_path: Path) -> None:
    with control(tmp_path / "home") as first:
        first.wait_ready()
        second = subprocess.run(
            [sys.executable, "-m", "penstock.control", "--home", str(tmp_path / "home")],
            capture_output=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert second.returncode == os.EX_CONFIG
        (line,) = second.stderr.decode().splitlines()
        assert f"another penstock control (process {first.process.pid}) is using" in json.loads(line)["message"]
        assert first.call("GET", "/admin/v1/status")[0] == 200


def test_an_invalid_stack_stops_a_first_start_and_no_later_one(tmp_path: Path) -> None:
    home, stack = tmp_path / "home", tmp_path / "penstock.yaml"
    stack.write_text("version: 1\nmodels: {chat: nowhere}\n")
    with control(home, "--stack", str(stack)) as one:
        status, errors = one.end()
        assert status == os.EX_CONFIG
        assert "nowhere" in json.loads(errors.splitlines()[-1])["message"]
    stack.write_text("version: 1\n")
    with control(home, "--stack", str(stack)) as one:
        one.wait_ready()
        stack.write_text("version: 1\nmodels: {chat: nowhere}\n")
        wait_until(lambda: one.call("GET", "/admin/v1/status")[1]["stack"]["error"])
    with control(home, "--stack", str(stack)) as one:
        one.wait_ready()
        told = one.call("GET", "/admin/v1/status")[1]["stack"]
        assert told["version"] == 1
        assert "nowhere" in told["error"]
        stack.write_text(
            "version: 1\ndeployments: {mini: {engine: llama.cpp, weights: bundled:mini}}\nmodels: {chat: mini}\n"
        )
        wait_until(lambda: one.call("GET", "/admin/v1/status")[1]["stack"]["error"] is None)
        config = Reader(home / "snapshot", Config).changed()
        assert config is not None
        assert (config.version, list(config.models)) == (2, ["chat"])


def test_control_killed_while_it_folds_counts_every_exchange_once(tmp_path: Path) -> None:
    home, count = tmp_path / "home", 5_000
    (home / "journal").mkdir(parents=True)
    writer = Writer(home / "journal", "0", segment_bytes=1_000_000)
    for number in range(count):
        writer.append(opened(number))
        if number % 100:
            writer.append(settled(number))
    writer.close()
    with control(home) as one:
        wait_until(lambda: entries(home))
        one.process.kill()
        one.end()
    with control(home) as one:
        one.wait_ready()
        wait_until(lambda: not list((home / "journal").iterdir()))
        status, usage = one.call("GET", "/admin/v1/usage")
        assert status == 200
        assert usage["totals"]["requests"] == count
        assert usage["totals"]["errors"] == count // 100
        assert usage["totals"]["cost_nano"] == 300 * (count - count // 100)
    assert entries(home) == {f"req-{number:06d}": "answered" if number % 100 else "lost" for number in range(count)}


def entries(home: Path) -> dict[str, str]:
    """Read the ledger from outside, as a backup would."""
    if not (home / "penstock.db").exists():
        return {}
    connection = sqlite3.connect(home / "penstock.db")
    try:
        return dict(connection.execute("SELECT request_id, outcome FROM ledger"))
    except sqlite3.OperationalError:
        return {}  # its tables are not made yet
    finally:
        connection.close()


def test_descriptors_that_are_no_sockets_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        ended = subprocess.run(
            [sys.executable, "-m", "penstock.control", "--home", str(tmp_path / "home"), "--admin", str(file.fileno())],
            pass_fds=[file.fileno()],
            capture_output=True,
            check=False,
            timeout=DEADLINE_S,
        )
    assert ended.returncode == os.EX_CONFIG
    assert "not a listening socket" in json.loads(ended.stderr.decode().splitlines()[-1])["message"]


def test_an_admin_key_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    with control(tmp_path / "home", environ={"PENSTOCK_ADMIN_KEY": "fifteen chars.."}) as one:
        status, errors = one.end()
    assert status == os.EX_CONFIG
    (line,) = errors.splitlines()
    assert json.loads(line)["message"] == "PENSTOCK_ADMIN_KEY is shorter than 16 characters"
    assert not (tmp_path / "home" / "penstock.db").exists()


def test_an_empty_admin_key_is_none(tmp_path: Path) -> None:
    with control(tmp_path / "home", environ={"PENSTOCK_ADMIN_KEY": " "}) as one:
        one.wait_ready()
        assert one.notice("admin_key") is not None


def test_another_secret_key_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with control(home, environ={"PENSTOCK_SECRET_KEY": "the first secret"}) as one:
        one.wait_ready()
    with control(home, environ={"PENSTOCK_SECRET_KEY": "the second secret"}) as one:
        status, errors = one.end()
    assert status == CANNOT_START
    assert "made under another PENSTOCK_SECRET_KEY" in json.loads(errors.splitlines()[-1])["message"]
    with control(home, environ={"PENSTOCK_SECRET_KEY": "the first secret"}) as one:
        one.wait_ready()
