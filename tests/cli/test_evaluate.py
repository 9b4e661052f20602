"""`penstock evaluate`, against fakes that know the answers, over real sockets."""

from __future__ import annotations

import json
import threading
from itertools import count
from typing import Any

import pytest

from penstock.cli import evaluate
from penstock.optimize.drills import FAMILIES
from penstock.optimize.exam import questions, wilson
from tests.cli.conftest import Answer, Call, Fake, Remote, Run

PATH = "POST /v1/chat/completions"
KNOWN = {
    json.dumps([[each.role, each.content] for each in question.drill.messages]): question
    for question in questions(list(FAMILIES), ["easy", "hard"], seed=4, count=3)
}


def completion(text: str, **more: Any) -> Answer:
    body = {"choices": [{"message": {"role": "assistant", "content": text}}], "usage": {"prompt_tokens": 7, **more}}
    return Answer(body, headers={"x-penstock-cost-usd": "0.000000250"})


def knows_easy(call: Call) -> Answer:
    """A model that is right on the easy level and never on the hard one."""
    question = KNOWN[json.dumps([[each["role"], each["content"]] for each in call.json()["messages"]])]
    return completion(question.drill.answer if question.level == "easy" else "42!", completion_tokens=2)


def test_right_answers_are_counted_for_each_family_and_level(gateway: Fake, run: Run) -> None:
    gateway.routes[PATH] = knows_easy
    found = json.loads(run("evaluate", "mini", "--seed", "4", "--count", "3", "--json").stdout)
    assert (found["model"], found["seed"], found["count"]) == ("mini", 4, 3)
    rows = {(row["family"], row["level"]): row for row in found["results"]}
    assert set(rows) == {(family, level) for family in (*FAMILIES, "all") for level in ("easy", "hard")}
    assert rows["dates", "easy"] | {"interval": None} == {
        "family": "dates", "level": "easy", "right": 3, "total": 3, "share": 1.0, "interval": None,
        "input_tokens": 21, "output_tokens": 6, "cost_usd": pytest.approx(7.5e-7),
    }  # fmt: skip
    assert rows["dates", "easy"]["interval"] == list(wilson(3, 3))
    everything = 3 * len(FAMILIES)
    assert (rows["all", "easy"]["right"], rows["all", "easy"]["total"]) == (everything, everything)
    assert (rows["all", "hard"]["right"], rows["all", "hard"]["total"]) == (0, everything)
    assert len(found["wrong"]) == 20
    assert {each["reply"] for each in found["wrong"]} == {"42!"}
    asked = gateway.calls[0].json()
    assert (asked["model"], asked["temperature"], len(gateway.calls)) == ("mini", 0, 2 * everything)


def test_the_table_has_shares_with_intervals(gateway: Fake, run: Run) -> None:
    gateway.routes[PATH] = knows_easy
    result = run("evaluate", "mini", "--seed", "4", "--count", "3", "--family", "dates", "--level", "easy")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0][:4] == ["FAMILY", "LEVEL", "RIGHT", "SHARE"]
    assert lines[1] == ["dates", "easy", "3/3", "100.0", "%", "43.9", "to", "100.0", "%", "21+6", "0.000000750"]
    assert [line[0] for line in lines[1:]] == ["dates", "all"]


def test_a_server_that_names_no_cost_has_none(remote: Remote, run: Run) -> None:
    body = {"choices": [{"message": {"content": "x"}}]}
    remote.fake.routes[PATH] = Answer(body)
    arguments = ("evaluate", "m", "--family", "dates", "--count", "1", "--url", remote.url, "--key", "sk-1", "--json")
    rows = json.loads(run(*arguments).stdout)["results"]
    assert {(row["cost_usd"], row["input_tokens"]) for row in rows} == {(None, 0)}
    assert {call.headers["Authorization"] for call in remote.fake.calls} == {"Bearer sk-1"}


@pytest.mark.parametrize("written", ["free", "", "-1", "nan", "inf"])
def test_a_cost_that_is_no_amount_is_none(remote: Remote, run: Run, written: str) -> None:
    body = {"choices": [{"message": {"content": "x"}}]}
    remote.fake.routes[PATH] = Answer(body, headers={"x-penstock-cost-usd": written})
    result = run("evaluate", "m", "--family", "dates", "--count", "1", "--url", remote.url, "--key", "sk-1", "--json")
    assert {row["cost_usd"] for row in json.loads(result.stdout)["results"]} == {None}


def test_a_busy_server_is_asked_again(gateway: Fake, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_FIRST_WAIT_S", 0.0)
    turns = iter(range(100))
    busy = Answer({"error": {"message": "full"}}, status=503)
    gateway.routes[PATH] = lambda call: busy if next(turns) < 3 else knows_easy(call)
    result = run("evaluate", "mini", "--seed", "4", "--count", "1", "--family", "dates", "--parallel", "1", "--json")
    assert result.exit_code == 0
    assert len(gateway.calls) == 2 + 3


def test_one_that_stays_busy_ends_the_exam(gateway: Fake, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "_FIRST_WAIT_S", 0.0)
    gateway.routes[PATH] = Answer({"error": {"message": "the deployment mini is full"}}, status=503)
    result = run("evaluate", "mini", "--family", "dates", "--parallel", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: the deployment mini is full\n"
    assert len(gateway.calls) == 6


def test_a_failure_ends_the_exam_for_those_who_wait_too(
    gateway: Fake, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "_FIRST_WAIT_S", 60.0)
    turns = count()
    busy, gone = (Answer({"error": {"message": f"{status}"}}, status=status) for status in (503, 404))
    gateway.routes[PATH] = lambda _: gone if next(turns) == 7 else busy
    result = run("evaluate", "mini", "--parallel", "8")
    assert (result.exit_code, result.stderr) == (1, "Error: 404\n")
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(20)
            assert not thread.is_alive()


def test_an_unknown_model_ends_the_exam_at_once(gateway: Fake, run: Run) -> None:
    gateway.routes[PATH] = Answer({"error": {"message": "The model 'nothing' does not exist."}}, status=404)
    result = run("evaluate", "nothing", "--parallel", "2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not exist" in result.stderr
    assert len(gateway.calls) <= 2


def test_questions_are_asked_in_parallel(gateway: Fake, run: Run) -> None:
    together = threading.Barrier(4, timeout=30)

    def answer(call: Call) -> Answer:
        together.wait()
        return knows_easy(call)

    gateway.routes[PATH] = answer
    arguments = ("evaluate", "mini", "--seed", "4", "--count", "2", "--family", "dates", "--parallel", "4", "--json")
    assert run(*arguments).exit_code == 0


@pytest.mark.parametrize("arguments", [("--family", "alchemy"), ("--level", "medium"), ("--count", "0")])
def test_wrong_usage_is_told(run: Run, arguments: tuple[str, str]) -> None:
    result = run("evaluate", "mini", *arguments)
    assert result.exit_code == 2
    assert arguments[0].removeprefix("--") in result.stderr


@pytest.mark.parametrize("body", [{"choices": []}, {"choices": [{"message": {"content": None}}]}])
def test_an_answer_without_text_is_wrong(gateway: Fake, run: Run, body: object) -> None:
    gateway.routes[PATH] = Answer(body)
    rows = json.loads(run("evaluate", "m", "--family", "dates", "--count", "1", "--json").stdout)["results"]
    assert {row["right"] for row in rows} == {0}


def test_something_else_than_a_completion_is_told(gateway: Fake, run: Run) -> None:
    gateway.routes[PATH] = Answer({"object": "list"})
    result = run("evaluate", "m", "--family", "dates", "--count", "1")
    assert result.exit_code == 1
    assert "answered something else" in result.stderr
