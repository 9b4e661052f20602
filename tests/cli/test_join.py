"""`penstock gateway --join`: what it refuses before anything is started. `tests/test_hosts.py` has hosts that join."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import Result

from penstock.cli.join import joined
from penstock.node.settings import Join
from penstock.types.address import Address
from penstock.types.home import Home
from tests.cli.conftest import Run

URL = "https://control.example:8081"
KEY = "sk-psadmin-abc-def"


@pytest.fixture(autouse=True)
def _environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_JOIN", raising=False)
    monkeypatch.setenv("PENSTOCK_JOIN_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "400")  # so that sentences stay in one line


def said(result: Result) -> str:
    """What a usage error says, with no frame around it."""
    assert (result.exit_code, result.stdout) == (2, "")
    return " ".join(word for word in result.stderr.split() if word != "│")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "an address is written https://host"),
        ("control.example", "an address is written https://host"),
        ("ftp://control.example", "an address is written https://host"),
        ("https://", "an address is written https://host"),
        ("https://control.example:0", "a port is a number from 1 to 65535"),
        ("https://control.example:99999", "an address is written https://host"),
        ("https://me:secret@control.example", "an address holds no user name or password"),
        ("https://control.example?x=1", "it has no query"),
        ("https://control.example/admin", "an address is written https://host:8081 or http://host:8081"),
        ("unix:/run/admin.sock", "an address is written https://host:8081 or http://host:8081"),
        ("https://1.2.3", "the host is not an IPv4 address"),
        ("https://käse.example", "neither an IP address nor a host name"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(run: Run, home: Home, url: str, reason: str) -> None:
    result = run("gateway", "--join", URL, "--join", url)
    assert reason in said(result)
    assert "--join" in result.stderr
    assert "base_url" not in result.stderr
    assert "secret" not in result.stderr.replace("secret.key", "")
    assert not home.node_lock.exists(), "nothing was started"


@pytest.mark.parametrize("value", [None, "", "  \n"])
def test_without_a_key_it_is_told_how_to_make_one(run: Run, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("PENSTOCK_JOIN_KEY")
    else:
        monkeypatch.setenv("PENSTOCK_JOIN_KEY", value)
    sentence = said(run("gateway", "--join", URL))
    assert "PENSTOCK_JOIN_KEY is not set" in sentence
    assert "penstock keys create --name NAME --admin --role gateway" in sentence


def test_a_key_file_that_is_missing_empty_or_a_directory_is_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert f"{path} cannot be read: No such file or directory" in said(
        run("gateway", "--join", URL, "--key-file", str(path))
    )
    path.touch()
    assert f"{path} is empty" in said(run("gateway", "--join", URL, "--key-file", str(path)))
    assert f"{tmp_path} cannot be read: Is a directory" in said(
        run("gateway", "--join", URL, "--key-file", str(tmp_path))
    )


@pytest.mark.parametrize("key", ["two words", "sk-\x01", "schlüssel", "two\nlines"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(run: Run, tmp_path: Path, key: str) -> None:
    (tmp_path / "key").write_text(key)
    result = run("gateway", "--join", URL, "--key-file", str(tmp_path / "key"))
    assert "the key for control holds characters that no key has" in said(result)
    assert key not in result.stderr


def test_a_key_file_alone_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    result = run("gateway", "--key-file", str(tmp_path / "key"))
    assert "a key is for a control elsewhere; add --join" in said(result)


def test_only_gateways_join(run: Run) -> None:
    for role in ("up", "control", "node"):
        assert "No such option" in said(run(role, "--join", URL))


def test_where_control_is_and_the_key_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "key").write_text("  sk-psadmin-of-the-file\n")
    assert joined(None, None) is None
    assert joined([], None) is None
    assert joined([URL, "https://[::1]"], None) == Join(
        (Address(host="control.example", port=8081, tls=True), Address(host="::1", port=443, tls=True)), KEY
    )
    found = joined([URL], tmp_path / "key")
    assert found is not None
    assert found.key == "sk-psadmin-of-the-file", "the file goes before the variable"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_in_the_clear_on_this_machine_nothing_is_warned_of(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert joined([f"http://{host}:8081"], None) is not None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("host", ["control.example", "10.0.0.1", "[fe80::1]", "localhost.example"])
def test_in_the_clear_over_a_network_is_warned_of_and_done(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://{host}:8081"
    assert joined([URL, url], None) is not None
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"Warning: {url} is not encrypted: ")
    assert captured.err.count("\n") == 1
    assert KEY not in captured.err


def test_the_environment_names_controls_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_JOIN", "http://one.example:8081 http://two.example:8081")
    result = run("gateway", "-f", "nope.yaml")  # ends it after that
    assert result.exit_code == 1
    warned = [line.split()[1] for line in result.stderr.splitlines() if line.startswith("Warning: ")]
    assert warned == ["http://one.example:8081", "http://two.example:8081"]
    assert result.stderr.endswith("Error: nope.yaml: there is no such file\n")
