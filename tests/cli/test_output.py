"""Foreign text reaches the terminal harmless, and tables reach a pipe whole."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli import output


@given(st.text(st.characters(codec=None)))
def test_nothing_a_terminal_obeys_is_left(foreign: str) -> None:
    for shown, allowed in ((output.text(foreign), "\n\t"), (output.line(foreign), "")):
        assert all(unicodedata.category(c) != "Cc" or c in allowed for c in shown)
        shown.encode()


def test_escapes_are_shown_not_dropped() -> None:
    assert output.text("a\x1b[31mb\r\n\x9b\u202e\ud800") == "a\\x1b[31mb\\r\n\\x9b\\u202e\\ud800"
    assert output.line("a\nb\tc") == "a\\nb\\tc"


def test_plain_text_is_untouched() -> None:
    assert output.text("Grüße, 世界 👩‍🚀\n\tcode") == "Grüße, 世界 👩‍🚀\n\tcode"


def test_line_takes_any_value() -> None:
    assert [output.line(value) for value in (None, 3, True, "x")] == ["-", "3", "True", "x"]


def test_table_is_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    output.emit_table(["NAME", "N"], [(long, 1), ("[red]y[/red]\x1b[0m", None)], right=("N",))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "N"]
    assert lines[1].split() == [long, "1"]
    assert lines[2].split() == ["[red]y[/red]\\x1b[0m", "-"]


def test_json_is_plain_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_json({"name": "\x1b\x9b\u202e é"})
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert "\x1b" not in shown
    assert json.loads(shown) == {"name": "\x1b\x9b\u202e é"}
