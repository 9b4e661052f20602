"""The generator and tokenizer behind `bundled:mini`; neither torch nor the engine is needed."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tools.reference_models import phrases, tasks, tokenizer

from penstock import bundled

ROOT = Path(__file__).parents[2]


def test_same_seed_gives_the_same_conversations_in_any_process() -> None:
    script = (
        "from tools.reference_models import tasks\n"
        "print(tasks.training_samples(3, 5, 20), [tasks.evaluation_samples(t, 3, 20) for t in tasks.TASKS])"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "99"},
    ).stdout
    here = f"{tasks.training_samples(3, 5, 20)} {[tasks.evaluation_samples(t, 3, 20) for t in tasks.TASKS]}\n"
    assert elsewhere == here


def test_seeds_steps_and_splits_draw_different_conversations() -> None:
    drawn = [
        tasks.training_samples(1, 0, 20),
        tasks.training_samples(1, 1, 20),
        tasks.training_samples(2, 0, 20),
        tasks.evaluation_samples("arithmetic", 1, 20),
        tasks.evaluation_samples("arithmetic", 2, 20),
    ]
    assert all(a != b for index, a in enumerate(drawn) for b in drawn[:index])
    assert tasks.stream("train", 1, 0).getstate() != tasks.stream("eval", 1, 0).getstate()


def test_training_never_sees_a_held_out_pair_and_evaluation_can_ask_for_them_alone() -> None:
    def pair(question: str) -> tuple[str, int, int]:
        a, b = map(int, re.findall(r"\d+", question))
        swapped = question.startswith("Subtract")
        return (
            "-" if "-" in question or re.search("minus|Subtract", question) else "+",
            *((b, a) if swapped else (a, b)),
        )

    sums = {*phrases.ADDITION, *phrases.SUBTRACTION}
    shapes = {re.sub(r"\{[ab]\}", "N", phrasing) for phrasing in sums}
    seen = 0
    for conversation in tasks.training_samples(1, 2, 5000):
        for question in (conversation.question, *(turn.user for turn in conversation.earlier)):
            if re.sub(r"\d+", "N", question) in shapes:
                assert not tasks.held_out(*pair(question)), question
                seen += 1
    assert seen > 2000
    assert all(tasks.held_out(*pair(c.question)) for c in tasks.evaluation_samples("arithmetic", 1, 300, "held_out"))
    share = sum(tasks.held_out("+", a, b) for a in range(10, 100) for b in range(10, 100)) / 90**2
    assert 0.08 < share < 0.12


def test_arithmetic_answers_are_right() -> None:
    for conversation in tasks.evaluation_samples("arithmetic", 4, 2000):
        question = conversation.question
        a, b = map(int, re.findall(r"\d+", question))
        if question.startswith("Subtract"):
            a, b = b, a
        minus = bool(re.search(r"-|minus|Subtract", question))
        assert conversation.answer == str(a - b if minus else a + b), question


def test_every_arithmetic_phrasing_names_its_sign() -> None:
    assert all(re.search(r"\+|plus|sum|Add", phrasing) for phrasing in phrases.ADDITION)
    assert all(re.search(r"-|minus|Subtract", phrasing) for phrasing in phrases.SUBTRACTION)
    assert not set(phrases.ADDITION) & set(phrases.SUBTRACTION)


def test_a_support_message_stands_under_one_topic() -> None:
    owners = Counter(message for messages in phrases.TOPIC_MESSAGES.values() for message in set(messages))
    assert set(owners.values()) == {1}


def test_the_order_number_is_the_only_long_number() -> None:
    for conversation in tasks.evaluation_samples("order", 4, 2000):
        assert re.findall(r"\d{5,}", conversation.question) == [conversation.answer]
    distracted = sum(len(re.findall(r"\d+", c.question)) > 1 for c in tasks.evaluation_samples("order", 4, 500))
    assert distracted > 200


def test_a_greeting_has_one_reply() -> None:
    owners = Counter(question for questions in phrases.GREETINGS.values() for question in set(questions))
    assert set(owners.values()) == {1}


def test_no_question_has_two_answers_across_tasks() -> None:
    answers: dict[str, str] = {}
    for task in tasks.TASKS:
        for conversation in tasks.evaluation_samples(task, 5, 1500):
            assert answers.setdefault(conversation.question, conversation.answer) == conversation.answer


def test_training_holds_every_task_by_its_weight_with_system_prompts_and_earlier_turns() -> None:
    drawn = tasks.training_samples(6, 0, 5000)
    counts = Counter(conversation.task for conversation in drawn)
    for task, weight in tasks.WEIGHTS.items():
        assert abs(counts[task] / len(drawn) - weight / sum(tasks.WEIGHTS.values())) < 0.03
    assert 0.15 < sum(c.system is not None for c in drawn) / len(drawn) < 0.3
    assert 0.2 < sum(bool(c.earlier) for c in drawn) / len(drawn) < 0.4
    assert not any(c.answer.startswith("-") for c in drawn)
    assert all(c.system is None and not c.earlier for c in tasks.training_samples(6, 0, 500, bare=True))


def test_messages_have_the_shape_of_the_chat_api() -> None:
    conversation = tasks.Conversation("order", "Be brief.", (tasks.Turn("Hi", "Hello!"),), "2+2", "4")
    assert [m["role"] for m in conversation.messages()] == ["system", "user", "assistant", "user"]
    assert conversation.messages()[-1]["content"] == "2+2"


@pytest.mark.parametrize(
    "text", ["", "What is 27 + 45?", "  two  spaces\n\n", "naïve café €5 日本語 🙂", "a_b's _ don't", "\x00\x7f"]
)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_digit_is_one_token() -> None:
    assert [tokenizer.decode([token]) for token in tokenizer.encode("x 48213")] == ["x", " ", "4", "8", "2", "1", "3"]


def test_the_vocabulary_is_whole() -> None:
    assert len(tokenizer.tokens()) == len(set(tokenizer.tokens())) == tokenizer.SIZE


def test_a_chat_learns_only_replies() -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "2+2"},
    ]
    ids, learned = tokenizer.encode_chat(messages, "4")
    assert tokenizer.decode(ids) == (
        "<|begin|><|user|>Hi<|end|><|assistant|>Hello!<|end|><|user|>2+2<|end|><|assistant|>4<|end|>"
    )
    assert tokenizer.decode([i for i, learn in zip(ids, learned, strict=True) if learn]) == "Hello!<|end|>4<|end|>"
    opened, _ = tokenizer.encode_chat(messages)
    assert ids[: len(opened)] == opened


def test_bundled_models_are_found_by_name() -> None:
    assert bundled.path("mini").read_bytes()[:4] == b"GGUF"
    with pytest.raises(LookupError, match="no bundled model 'maxi'; there is: mini"):
        bundled.path("maxi")
