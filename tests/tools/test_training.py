# mypy: disable-error-code="misc, untyped-decorator"
"""Training and export, where PyTorch and Transformers are installed: `make test-train`."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tools.reference_models import chats, curve, hub, tokenizer, train
from tools.reference_models.model import Model
from tools.reference_models.optimizer import Optimizer
from tools.reference_models.recipes import Recipe, Shape

from penstock.optimize.drills.drill import Drill, Message

TINY = Recipe(Shape(width=32, layers=2, heads=2, hidden=64, context=1024), ("easy",), steps=30, exercises=10, chats=16)
CPU = torch.device("cpu")


def tiny(steps: int = 30) -> train.Run:
    return train.Run("tiny", dataclasses.replace(TINY, steps=steps), 1, CPU)


def same(ours: train.Run, theirs: train.Run) -> bool:
    pairs = zip(ours.model.state_dict().values(), theirs.model.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_run_that_was_ended_comes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(model: Model, drills: Sequence[Drill], device: object) -> int:
        """Stand for what an untrained model never gets right: some number that the weights give, never 0."""
        return 1 + int(float(model.norm.weight.abs().sum()) * 1e5) % len(drills)

    monkeypatch.setattr(train, "answered", answered)
    monkeypatch.setattr(train, "LOOK_EVERY", 5)
    monkeypatch.setattr(train, "LOOKED_AT", 4)
    whole, first, second = tiny(), tiny(), tiny()
    assert train.train(whole, tmp_path, math.inf)
    assert not train.train(first, tmp_path, minutes=0)  # ends after its first step
    while first.step < 17:
        first.advance()
        if first.step % train.LOOK_EVERY == 0:
            first.look()
    first.save(tmp_path / train.CHECKPOINT)
    second.load(tmp_path / train.CHECKPOINT)
    assert second.step == 17
    assert second.accuracies == first.accuracies != dict.fromkeys(first.accuracies, 0.0)
    assert not same(second, whole)
    assert train.train(second, tmp_path, math.inf)
    assert same(second, whole)
    assert (second.step, second.tokens, second.accuracies) == (whole.step, whole.tokens, whole.accuracies)


def test_the_same_seed_gives_the_same_weights() -> None:
    ours, theirs, other = tiny(), tiny(), train.Run("tiny", TINY, 2, CPU)
    for run in (ours, theirs, other):
        for _ in range(12):
            run.advance()
    assert same(ours, theirs)
    assert not same(ours, other)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    tiny().save(tmp_path / train.CHECKPOINT)
    shape = dataclasses.replace(TINY.shape, layers=1)
    changed = (dataclasses.replace(TINY, shape=shape), dataclasses.replace(TINY, levels=("easy", "hard")))
    others = [train.Run("tiny", recipe, 1, CPU) for recipe in changed]
    for other in (*others, train.Run("tiny", TINY, 2, CPU), train.Run("small", TINY, 1, CPU)):
        with pytest.raises(ValueError, match="take another folder, or --fresh"):
            other.load(tmp_path / train.CHECKPOINT)
    tiny(steps=60).load(tmp_path / train.CHECKPOINT)


def test_the_optimizer_keeps_its_state_where_the_weights_are() -> None:
    with torch.device("meta"):
        optimizer = Optimizer(Model(TINY.shape))
    assert {momentum.device.type for momentum in optimizer.momenta} == {"meta"}


def test_the_log_holds_every_step_once_after_a_break_and_can_be_drawn(tmp_path: Path) -> None:
    run = tiny(steps=300)
    run.step = 299
    train.note(tmp_path / train.LOG, step=250, loss=1.0)
    train.note(tmp_path / train.LOG, step=300, loss=1.0)
    train.forget_after(tmp_path / train.LOG, run.step)
    assert train.train(run, tmp_path, math.inf)
    lines = [json.loads(line) for line in (tmp_path / train.LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [250, 300, 300]
    assert set(lines[-1]["accuracies"]) == {f"{family} easy" for family, _ in chats.kinds(["easy"])}
    curve.draw(lines, "a run").savefig(tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size > 1000


@torch.no_grad()
def test_a_chat_in_a_row_is_read_as_if_it_stood_alone() -> None:
    model = tiny().model
    encoded = [tokenizer.encode_chat([Message("user", text)], "4") for text in ("2+2", "What is 12 + 7?", "Hello")]
    (row,) = chats.pack(encoded, 128)
    found = model(torch.tensor([row.ids]), torch.tensor([row.chat]))[0]
    at = 0
    for ids, _ in sorted(encoded, key=lambda chat: len(chat[0]), reverse=True):
        alone = model(torch.tensor([ids]), torch.zeros(1, len(ids), dtype=torch.long))[0]
        assert torch.allclose(found[at : at + len(ids)], alone, atol=1e-4)
        at += len(ids)


@torch.no_grad()
def test_the_folder_is_the_same_model_in_transformers(tmp_path: Path) -> None:
    run = tiny()
    run.model.half().float()  # as it is written
    hub.write(run.model, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    cut = transformers.AutoTokenizer.from_pretrained(tmp_path)
    messages = [Message("system", "Be exact."), Message("user", "What is 12 + 7?")]
    ids, _ = tokenizer.encode_chat(messages)
    plain = [{"role": each.role, "content": each.content} for each in messages]
    rendered = cut.apply_chat_template(plain, add_generation_prompt=True, tokenize=False)
    assert cut(rendered)["input_ids"] == ids
    ours = run.model.logits(run.model(torch.tensor([ids]), torch.zeros(1, len(ids), dtype=torch.long)))
    assert torch.allclose(ours, theirs(torch.tensor([ids])).logits, atol=1e-3)


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    recipe = dataclasses.replace(TINY, steps=1000, rate=1.0)
    rates = [train.rate(step, recipe) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[100:750] == [1.0] * 650
    assert all(a > b for a, b in itertools.pairwise(rates[750:]))
    assert rates[-1] == pytest.approx(0.004)
