"""What the bundled models are trained on, and how it is cut into tokens; neither torch nor an engine is needed."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.reference_models import chats, exercises, tokenizer
from tools.reference_models.recipes import RECIPES

from penstock.optimize.drills import FAMILIES
from penstock.optimize.drills.drill import LEVELS, Draw, Drill, Message, Split, draw, source, split_of

ROOT = Path(__file__).parents[2]
EVENLY = chats.weights(dict.fromkeys(chats.kinds(LEVELS), 0.0))


def texts(row: chats.Row) -> list[str]:
    """Each chat of a row, as text."""
    ids = {each: [i for i, chat in zip(row.ids, row.chat, strict=True) if chat == each] for each in sorted({*row.chat})}
    return [tokenizer.decode(found) for chat, found in ids.items() if chat >= 0]


def test_the_same_seed_and_step_give_the_same_rows_in_any_process() -> None:
    script = (
        "from tools.reference_models import chats\n"
        "weights = chats.weights(dict.fromkeys(chats.kinds(['easy', 'hard']), 0.0))\n"
        "print([chats.rows(weights, 3, step, 16) for step in (5, 19)])"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "99"},
    ).stdout
    assert elsewhere == f"{[chats.rows(EVENLY, 3, step, 16) for step in (5, 19)]}\n"


def test_other_seeds_and_steps_give_other_rows() -> None:
    drawn = [chats.rows(EVENLY, seed, step, 16) for seed in (1, 2) for step in (0, 1)]
    assert all(a != b for index, a in enumerate(drawn) for b in drawn[:index])


def test_a_step_reads_training_drills_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Drill] = []

    def noting(family: Draw, split: Split, chance: random.Random) -> Drill:
        seen.append(draw(family, split, chance))
        return seen[-1]

    monkeypatch.setattr(chats, "draw", noting)
    rows = [*chats.rows(EVENLY, 1, 0, 64), *chats.rows(EVENLY, 1, chats.LONG_EVERY - 1, 64)]
    assert rows
    assert len(seen) > 64
    assert {split_of(drill) for drill in seen} == {"train"}


@pytest.mark.parametrize(("step", "length"), [(0, chats.ROW), (chats.LONG_EVERY - 1, chats.LONG_ROW)])
def test_rows_are_whole_and_learn_every_answer_and_nothing_else(step: int, length: int) -> None:
    rows = chats.rows(EVENLY, 1, step, 64)
    assert {len(each) for row in rows for each in (row.ids, row.learned, row.chat)} == {length}
    for row in rows:
        for text, learned in zip(
            texts(row),
            ([i for i, chat, learn in zip(row.ids, row.chat, row.learned, strict=True) if chat == each and learn]
             for each in sorted({*row.chat} - {-1})),
            strict=True,
        ):  # fmt: skip
            answers = [part.partition("<|end|>")[0] for part in text.split("<|assistant|>")[1:]]
            assert answers
            assert tokenizer.decode(learned) == "".join(f"{answer}<|end|>" for answer in answers)
            assert text.endswith("<|end|>")


def test_some_chats_have_system_prompts_or_earlier_turns_and_long_steps_are_long_chats() -> None:
    found = [text for step in range(10) for row in chats.rows(EVENLY, 1, step, 64) for text in texts(row)]
    assert 0.05 < sum(text.startswith("<|system|>") for text in found) / len(found) < 0.2
    assert 0.5 < sum(text.count("<|assistant|>") == 1 for text in found) / len(found) < 0.9
    (long, *_) = chats.rows(EVENLY, 1, chats.LONG_EVERY - 1, 64)
    assert [text.count("<|user|>") > 5 for text in texts(long)] == [True]


def test_a_kind_that_is_known_is_drawn_less_often_but_still() -> None:
    known: chats.Kind = ("smalltalk", "easy")
    weights = chats.weights({kind: float(kind == known) for kind in EVENLY})
    assert weights["dates", "easy"] == 1
    assert weights[known] == pytest.approx(0.1)


def test_exercises_are_drawn_from_the_seed_and_can_be_solved_from_what_stands_before() -> None:
    assert exercises.rows(3, 7, 100) == exercises.rows(3, 7, 100)
    assert exercises.rows(3, 7, 100) != exercises.rows(3, 8, 100)
    assert all(len(row.ids) == chats.ROW for row in exercises.rows(3, 99, 100))
    for seed in range(50):
        chance = random.Random(seed)
        ids, learned = exercises.copy(chance)
        half = len(ids) // 2
        assert ids[:half] == ids[half:]
        assert learned == [False] * (half + 1) + [True] * (half - 1)
        ids, learned = exercises.look_up(chance)
        facts, questions = ids[:32], ids[32:]
        values: dict[int, int] = {}
        for one, _, other, _ in zip(*[iter(facts)] * 4, strict=True):
            values |= {one: other, other: one}
        for _, key, _, value in zip(*[iter(questions)] * 4, strict=True):
            assert values[key] == value
        assert [i for i, learn in enumerate(learned) if learn] == list(range(35, 64, 4))


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_packing_keeps_every_chat_whole(lengths: list[int]) -> None:
    given_chats = [([300 + index] * length, [index % 2 == 0] * length) for index, length in enumerate(lengths)]
    rows = chats.pack(given_chats, 40)
    assert Counter(token for row in rows for token in row.ids if token) == Counter(
        {300 + index: length for index, length in enumerate(lengths)}
    )
    for row in rows:
        assert len(row.ids) == len(row.learned) == len(row.chat) == 40
        for token, learn, chat in zip(row.ids, row.learned, row.chat, strict=True):
            assert (token == 0) == (chat == -1)
            assert learn == (token != 0 and token % 2 == 0)
        owners = {(chat, token) for token, chat in zip(row.ids, row.chat, strict=True) if chat >= 0}
        assert len(owners) == len({chat for chat, _ in owners})
    # First fit leaves at most one row that is less than half full.
    assert sum(2 * sum(chat >= 0 for chat in row.chat) < 40 for row in rows) <= 1


def test_recipes_fit_what_they_teach() -> None:
    longest = 0
    for recipe in RECIPES.values():
        assert recipe.shape.width % (2 * recipe.shape.heads) == 0
        assert recipe.shape.context >= chats.LONG_ROW
        for name, level in chats.kinds(recipe.levels):
            chance = source("train", 1, name, level)
            drawn = [draw(FAMILIES[name].at(level), "train", chance) for _ in range(200)]
            longest = max(longest, *(len(tokenizer.encode_chat(each.messages, each.answer)[0]) for each in drawn))
    assert longest < chats.ROW


@pytest.mark.parametrize(
    "text", ["", "What is 27 + 45?", "  two  spaces\n\n", "naïve café €5 日本語 🙂", "a_b's _ don't", "\x00\x7f"]
)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_digit_is_one_token() -> None:
    assert [tokenizer.decode([token]) for token in tokenizer.encode("x 48213")] == ["x", " ", "4", "8", "2", "1", "3"]
    assert not [text for text in tokenizer.tokens()[256:] if any(mark.isdigit() for mark in text)]


def test_the_vocabulary_is_whole() -> None:
    assert len(tokenizer.tokens()) == len(set(tokenizer.tokens())) == tokenizer.SIZE


def test_a_chat_learns_only_replies() -> None:
    messages = [Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "2+2")]
    ids, learned = tokenizer.encode_chat(messages, "4")
    assert tokenizer.decode(ids) == (
        "<|user|>Hi<|end|><|assistant|>Hello!<|end|><|user|>2+2<|end|><|assistant|>4<|end|>"
    )
    assert tokenizer.decode([i for i, learn in zip(ids, learned, strict=True) if learn]) == "Hello!<|end|>4<|end|>"
    opened, _ = tokenizer.encode_chat(messages)
    assert ids[: len(opened)] == opened
