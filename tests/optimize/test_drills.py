"""Drills are chats with one answer, which for five families a second reckoning finds too; splits share no chat."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest

from penstock.optimize.drills import FAMILIES
from penstock.optimize.drills.drill import LEVELS, Drill, Level, Split, ask, draw, earlier, source, split_of
from penstock.optimize.drills.words import NAMES

EVERY = [(family, level) for family in FAMILIES for level in LEVELS]


def drawn(family: str, level: Level, count: int = 300, split: Split = "exam", seed: int = 1) -> list[Drill]:
    chance = source(split, seed, family, level)
    return [draw(FAMILIES[family].at(level), split, chance) for _ in range(count)]


@pytest.mark.parametrize(("family", "level"), EVERY)
def test_a_drill_is_a_chat_that_ends_in_a_question(family: str, level: Level) -> None:
    for drill in drawn(family, level):
        roles = [message.role for message in drill.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        texts = [*(message.content for message in drill.messages), drill.answer]
        assert all(text and text.isascii() and text == text.strip() for text in texts)


@pytest.mark.parametrize(("family", "level"), EVERY)
def test_what_examines_was_never_trained_on(family: str, level: Level) -> None:
    splits: tuple[Split, ...] = ("train", "validation", "exam")
    chats = [{drill.messages for drill in drawn(family, level, 200, split)} for split in splits]
    assert not chats[0] & chats[1]
    assert not chats[0] & chats[2]
    assert not chats[1] & chats[2]


@pytest.mark.parametrize(("family", "level"), EVERY)
def test_wording_and_values_vary(family: str, level: Level) -> None:
    assert len({drill.messages for drill in drawn(family, level, 1000, "train")}) > 300


def test_seeds_draw_different_drills_and_the_same_seed_the_same_ones_in_any_process() -> None:
    assert drawn("arithmetic", "easy", seed=1) != drawn("arithmetic", "easy", seed=2)
    script = (
        "from penstock.optimize.drills import FAMILIES\n"
        "from penstock.optimize.drills.drill import draw, source\n"
        "for name, family in FAMILIES.items():\n"
        "    chance = source('exam', 3, name)\n"
        "    print([draw(family.hard, 'exam', chance) for _ in range(20)])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "99")
    ]
    assert runs[0] == runs[1]


def test_a_family_without_a_drill_of_a_split_says_so() -> None:
    only = drawn("arithmetic", "easy", 1)[0]
    assert split_of(only) == "exam"
    with pytest.raises(LookupError):
        draw(lambda _: only, "train", source("train", 1))


def test_a_chat_stays_in_its_split() -> None:
    splits = [split_of(ask(f"What is {number} + 1?", str(number + 1))) for number in range(100)]
    assert [number for number, split in enumerate(splits) if split == "exam"] == [27, 43, 53, 54, 75]
    assert [number for number, split in enumerate(splits) if split == "validation"] == [1, 10, 64, 74, 92]


def test_no_chat_has_two_answers() -> None:
    answers: dict[object, str] = {}
    for family, level in EVERY:
        for drill in drawn(family, level, 3000, "train"):
            assert answers.setdefault(drill.messages, drill.answer) == drill.answer


def numbers(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"\d+", text)]


def check_sums(question: str, answer: str) -> None:
    given = numbers(question)
    if "*" in question or "times" in question or "Multiply" in question:
        assert int(answer) == given[0] * given[1]
    elif question.startswith("Subtract"):
        assert int(answer) == given[1] - given[0]
    elif len(given) == 3:
        assert int(answer) == given[0] + given[1] + (-given[2] if "-" in question else given[2])
    else:
        assert int(answer) == (given[0] - given[1] if re.search("-|minus", question) else sum(given))


def check_order(question: str, answer: str) -> None:
    head, _, listing = question.rpartition("? " if "?" in question else ": ")
    items = listing.split(", ")
    if re.search("alphabet", question):
        assert answer.split(", ") == sorted(items)
    elif re.search(r"[Cc]ount these|How many words", question):
        assert int(answer) == len(items)
    elif "larger than" in question:
        assert int(answer) == len([item for item in items if int(item) > numbers(head)[0]])
    elif "largest" in question:
        assert int(answer) == max(map(int, items))
    elif "smallest" in question:
        assert int(answer) == min(map(int, items))
    else:
        assert numbers(answer) == sorted(map(int, items), reverse=bool(re.search("falling|large to small", question)))


def check_dates(question: str, answer: str) -> None:
    times = re.findall(r"\d+:\d\d", question)
    if times:
        start, end = (datetime.strptime(time, "%H:%M") for time in times)  # noqa: DTZ007  of one day
        minutes = int((end - start).total_seconds()) // 60
        assert answer == (str(minutes // 60) if "hours" in question else f"{minutes // 60} h {minutes % 60} min")
        return
    month = re.search(r"(January|February|March|April|May|June|July|August|September|October|November) (\d+)", question)
    (count,) = numbers(question.replace(month[0], "") if month else question)
    if month:
        day = datetime.strptime(f"2023 {month[0]}", "%Y %B %d").date() + timedelta(days=count)  # noqa: DTZ007  a date
        assert answer == f"{day:%B} {day.day}"
        return
    (weekday,) = re.findall("(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day", question)
    first = next(day for day in (date(2023, 1, n) for n in range(1, 8)) if f"{day:%A}" == weekday)
    back = re.search("before|ago|earlier", question)
    assert answer == f"{first + timedelta(days=-count if back else count):%A}"


def check_units(question: str, answer: str) -> None:
    factors = {
        "km": 1000,
        "m": 1,
        "cm": 0.01,
        "mm": 0.001,
        "kg": 1000,
        "g": 1,
        "l": 1000,
        "ml": 1,
        "pieces": 1,
    }
    factors |= {"dozen": 12, "weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
    given = re.findall(r"(\d+(?:\.\d+)?) ([a-z]+)", question)
    wanted = re.search(r"(?:to|in|many) ([a-z]+)", question)
    assert wanted is not None
    value, unit = answer.split() if " " in answer else (answer, wanted[1])
    assert unit == wanted[1]
    assert (" " in answer) == ("many" not in question)
    assert sum(float(number) * factors[name] for number, name in given) == pytest.approx(int(value) * factors[unit])


def check_records(question: str, answer: str) -> None:
    if "{" not in question:
        document = json.loads(answer)
        sentence = question.split(": ", 1)[1]
        assert document.get("paid") in (None, "not paid" not in sentence)
        numbers_in = [value for value in document.values() if isinstance(value, int) and not isinstance(value, bool)]
        assert numbers_in == numbers(sentence)
        assert document["name"] in NAMES
        assert re.search(rf"\b{document['name']}\b", sentence)
        assert "product" not in document or re.search(rf"\b{document['product']}\b", sentence)
        if listed := re.match("As JSON with the keys ([^:]+):", question):
            assert ", ".join(document) == listed[1]
        return
    document = json.loads(question[question.index("{") :])
    key = re.search(r"What is the (.+?) in|Find the (.+?): \{|Read the (.+?) from", question)
    assert key is not None
    for name in reversed((key[1] or key[2] or key[3]).split(" of the ")):
        document = document[name]
    assert answer == str(document)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("family", "check"),
    [
        ("arithmetic", check_sums),
        ("ordering", check_order),
        ("dates", check_dates),
        ("units", check_units),
        ("records", check_records),
    ],
)
def test_answers_are_right(family: str, check: Callable[[str, str], None], level: Level) -> None:
    for drill in drawn(family, level, 1000):
        check(drill.messages[-1].content, drill.answer)


@pytest.mark.parametrize("level", LEVELS)
def test_no_answer_in_a_training_drill_is_that_of_a_chat_of_another_split(level: Level) -> None:
    chance = source("train", 1, "earlier", level)
    drills = [draw(FAMILIES["followups"].at(level), "train", chance) for _ in range(500)]
    answered = [each for drill in drills for each in earlier(drill)]
    assert len(answered) >= 500
    assert {split_of(each) for each in answered} == {"train"}
    assert all(each.messages[-1].role == "user" for each in answered)
