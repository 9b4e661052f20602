"""The block that `penstock up` prints, and the line in it that a person copies."""

from __future__ import annotations

import json
import shlex

import msgspec

from penstock import __version__
from penstock.cli.ready import Bound, Facts, block, curl

FACTS = Facts(
    title="penstock",
    seconds=1.84,
    local="/home/x/.penstock/run/gateway.sock",
    data="/home/x/.penstock",
    models=("chat", "large"),
    gateway=Bound("127.0.0.1", 8080),
    admin=Bound("127.0.0.1", 8081),
    ops=Bound("127.0.0.1", 8082),
    first_key="sk-ps-abc-def",
)


def but(**changes: object) -> Facts:
    return msgspec.structs.replace(FACTS, **changes)


def test_the_block() -> None:
    lines = block(FACTS).splitlines()
    assert lines[0] == f"penstock {__version__} is ready (1.8 s)"
    assert lines[1].split() == ["gateway", "http://127.0.0.1:8080/v1", "models:", "chat,", "large"]
    assert lines[2].split() == ["admin", "http://127.0.0.1:8081", "ops:", "http://127.0.0.1:8082"]
    assert lines[3].split() == ["data", "/home/x/.penstock"]
    assert lines[4].split()[:2] == ["key", "sk-ps-abc-def"]
    assert lines[5] == "Try it:"
    assert len(lines) == 7


def test_the_curl_line_with_the_first_key() -> None:
    words = shlex.split(curl(FACTS))
    assert words[:3] == ["curl", "-s", "http://127.0.0.1:8080/v1/chat/completions"]
    assert "Authorization: Bearer sk-ps-abc-def" in words
    body = json.loads(words[-1])
    assert body["model"] == "chat"
    assert body["messages"] == [{"role": "user", "content": "What is 27 + 45?"}]


def test_later_starts_use_the_unix_socket() -> None:
    text = block(but(first_key=""))
    assert "key " not in text
    words = shlex.split(text.splitlines()[-1])
    assert words[1:5] == ["-s", "--unix-socket", FACTS.local, "http://localhost/v1/chat/completions"]
    assert not any("Authorization" in word for word in words)


def test_the_line_is_one_line_whatever_the_home() -> None:
    line = curl(but(first_key="", local="/home/o'brien and co/gateway.sock"))
    assert "\n" not in line
    assert shlex.split(line)[3] == "/home/o'brien and co/gateway.sock"


def test_tls() -> None:
    facts = but(gateway=Bound("127.0.0.1", 8443, tls=True))
    assert shlex.split(curl(facts))[:4] == ["curl", "-s", "-k", "https://127.0.0.1:8443/v1/chat/completions"]
    # The socket on this machine is plain whatever the data port is.
    assert "http://localhost/" in curl(msgspec.structs.replace(facts, first_key=""))


def test_addresses_that_mean_every_interface_are_reached_at_loopback() -> None:
    assert Bound("0.0.0.0", 80).url == "http://127.0.0.1:80"
    assert Bound("::", 80).url == "http://[::1]:80"
    assert Bound("fe80::1", 80).url == "http://[fe80::1]:80"


def test_a_data_port_on_a_unix_socket() -> None:
    facts = but(gateway=Bound(unix="/run/p.sock"))
    assert "unix:/run/p.sock" in block(facts)
    assert shlex.split(curl(facts))[1:5] == [
        "-s",
        "--unix-socket",
        "/run/p.sock",
        "http://localhost/v1/chat/completions",
    ]


def test_failures_get_a_line_each() -> None:
    text = block(but(failures=(("mini/0", "weights are truncated\n\x1b[31m"), ("big/0", "no such file"))))
    assert "  failed     mini/0: weights are truncated\\n\\x1b[31m\n  failed     big/0: no such file\n" in text


def test_the_admin_key_is_shown_when_made() -> None:
    assert "sk-psadmin-1-2" in block(but(admin_key="sk-psadmin-1-2"))
    assert "admin key" not in block(FACTS)


def test_an_admin_key_that_the_environment_sets_is_not_shown() -> None:
    assert "  admin key  from PENSTOCK_ADMIN_KEY\n" in block(but(admin_key_variable="PENSTOCK_ADMIN_KEY"))


def test_without_a_gateway_or_models_there_is_nothing_to_try() -> None:
    assert "curl" not in block(but(gateway=None))
    assert "curl" not in block(but(models=()))
    assert "models: none" in block(but(models=()))
