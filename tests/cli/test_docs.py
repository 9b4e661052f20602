"""The pages a person reads first say what is true of the command line and the Makefile."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
import typer.main

from penstock.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "Makefile", ROOT / "Containerfile"]
TARGETS = {
    "setup",
    "setup-system",
    "up",
    "test",
    "test-unit",
    "check",
    "bench",
    "soak",
    "fmt",
    "wheel",
    "lock",
    "clean",
}
CODE = re.compile(r"```[a-z]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
SHELL = {"|", ">", ">>", "<", "&&", "||", "&", ";"}
LISTINGS = ["status", "models", "usage", "explain", "keys list", "keys create", "check"]


def command_at(words: list[str]) -> Any:
    """Return the command that these words name, or None; what follows a command's name is its own business."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if not hasattr(command, "commands"):
            break
        if word not in command.commands:
            return None
        command = command.commands[word]
    return command


def mentions() -> list[tuple[str, str]]:
    """Return every `penstock …` that the pages name as something to type."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        text = page.read_text()
        for block, span in CODE.findall(text):
            for raw in (block or span).splitlines():
                line = raw.partition("#")[0].strip().removeprefix("$ ").removeprefix(".venv/bin/")
                if line.startswith("penstock ") and not re.match(r"penstock (gateway|engine) \S*\d", line):
                    found.append((page.name, line))
    return found


def test_the_pages_name_commands() -> None:
    assert len(mentions()) > 15


@pytest.mark.parametrize(("page", "line"), mentions())
def test_a_command_in_the_pages_exists(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    names = [word for word in words if not word.startswith("-")]
    command = command_at(names)
    assert command is not None, f"{page} names `{line}`"
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    if len(words) and command is typer.main.get_command(app):
        options.add("--version")
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options, f"{page} names `{line}`"


def examples() -> list[tuple[str, str]]:
    """Return every line of a shell example in the pages that calls `penstock`, joined where it goes on."""
    found: list[tuple[str, str]] = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
            lines = textwrap.dedent(block).replace("\\\n", " ").splitlines()
            found += [(page.name, line) for line in lines if line.startswith("penstock ")]
    return found


def parse(line: str) -> None:
    """Parse a call of `penstock` as the command line does, running nothing; a wrong flag or argument is an error."""
    words = shlex.split(line, comments=True)[1:]
    words = list(itertools.takewhile(lambda word: word not in SHELL, words))
    command: Any = typer.main.get_command(app)
    context: Any = None
    while True:
        context = command.make_context(command.name, words, context, resilient_parsing=False)
        if not hasattr(command, "commands"):
            return
        _, command, words = command.resolve_command(context, [*context._protected_args, *context.args])


def test_the_pages_have_examples() -> None:
    assert len(examples()) > 10


@pytest.mark.parametrize("line", [pytest.param(line, id=f"{page}: {line}") for page, line in examples()])
@pytest.mark.usefixtures("home")
def test_an_example_in_the_pages_can_be_typed(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("PENSTOCK_")]:
        monkeypatch.delenv(variable)
    parse(line)


@pytest.mark.parametrize(
    "line",
    [
        "penstock keys create eu-1 --admin --role gateway",
        "penstock keys create --nom eu-1",
        "penstock hosts forget",
        "penstock hosts forget eu-1 eu-2",
        "penstock hosts forgive eu-1",
        "penstock gateway --join",
        "penstock nope",
        "penstock up --file",
    ],
)
def test_a_mistake_in_an_example_would_be_found(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)(no such|unexpected|missing|invalid|unknown|requires)"):
        parse(line)


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    top: Any = typer.main.get_command(app)
    assert [name for name in top.commands if f"penstock {name}" not in readme and name != "version"] == []


@pytest.mark.parametrize("listing", LISTINGS)
def test_every_listing_has_json(listing: str) -> None:
    assert any("--json" in parameter.opts for parameter in command_at(listing.split()).params)


def test_every_command_says_what_it_does() -> None:
    def check(command: Any, name: str) -> None:
        assert command.help, name
        for child, inner in getattr(command, "commands", {}).items():
            check(inner, f"{name} {child}")

    check(typer.main.get_command(app), "penstock")


def test_the_makefile_has_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE)) >= TARGETS


def test_make_targets_in_the_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for page in PAGES[:-2]:
        for block, span in CODE.findall(page.read_text()):
            for target in re.findall(r"(?m)^make ([a-z][a-z-]*)\b", block or span):
                assert target in targets, f"{page.name}: make {target}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES[:-2]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            if page.name != "template.md" and not link.startswith(".."):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_lock_files_name_no_registry() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        assert "://" not in lock.read_text()
        assert "--hash=sha256:" in lock.read_text()
