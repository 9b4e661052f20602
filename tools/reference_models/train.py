# mypy: disable-error-code="misc, untyped-decorator"
"""
Train a model from scratch: `python -m tools.reference_models.train mini --out RUN`.

Every step draws its own chats from the seed, its number and what the last look at validation drills found, all of
which the checkpoint keeps: a run that was ended at any moment comes to the same weights. Only answers are learned.
"""

import argparse
import dataclasses
import itertools
import json
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tools.reference_models import chats, exercises, tokenizer
from tools.reference_models.chats import Kind, Row
from tools.reference_models.model import Model
from tools.reference_models.optimizer import Optimizer
from tools.reference_models.recipes import RECIPES, Recipe
from torch import Tensor, nn
from torch.nn import functional

from penstock.optimize.drills.drill import Drill
from penstock.optimize.exam import questions

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
LOG_EVERY = 50
LOOK_EVERY = 250
"""Steps between two looks at validation drills, each followed by a checkpoint."""
LOOKED_AT = 50
"""Validation drills of each kind."""
_PART_TOKENS = 3072  # through the model at once; more need more memory


class Run:
    """
    A model on its way: weights, optimizer, and all that its next step depends on.

    Args:
        short: multiply in bfloat16 where PyTorch's autocast does; the weights stay float32.
    """

    def __init__(self, name: str, recipe: Recipe, seed: int, device: torch.device, short: bool = True) -> None:
        torch.manual_seed(seed)
        self.short = short
        self.name, self.recipe, self.seed, self.device = name, recipe, seed, device
        self.model = Model(recipe.shape).to(device)
        self.optimizer = Optimizer(self.model)
        self.accuracies: dict[Kind, float] = dict.fromkeys(chats.kinds(recipe.levels), 0.0)
        self.step = self.tokens = 0
        self.seconds = 0.0

    def advance(self) -> float:
        """Take one step; returns its loss per learned token."""
        began = time.monotonic()
        rows = self._rows()
        learned = sum(sum(row.learned) for row in rows)
        total = 0.0
        for ids, targets, chat in parts(rows, self.device):
            loss = self._loss(ids, targets, chat) / learned
            loss.backward()
            total += float(loss.detach())
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step(rate(self.step, self.recipe))
        self.step += 1
        self.tokens += sum(len(row.ids) for row in rows)
        self.seconds += time.monotonic() - began
        return total

    def _rows(self) -> list[Row]:
        if self.step < self.recipe.exercises:
            return exercises.rows(self.seed, self.step, self.recipe.exercises)
        return chats.rows(chats.weights(self.accuracies), self.seed, self.step, self.recipe.chats)

    def _loss(self, ids: Tensor, targets: Tensor, chat: Tensor) -> Tensor:
        chosen = targets >= 0
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.short):
            scores = self.model.logits(self.model(ids, chat)[chosen])
        return functional.cross_entropy(scores.float(), targets[chosen], reduction="sum")

    @torch.no_grad()
    def look(self) -> None:
        """See how many validation drills of each kind are answered right; the next steps draw kinds by that."""
        for family, level in self.accuracies:
            asked = questions([family], [level], self.seed, LOOKED_AT, split="validation")
            right = answered(self.model, [each.drill for each in asked], self.device)
            self.accuracies[family, level] = right / len(asked)

    def _identity(self) -> dict[str, Any]:
        """Return what a run that goes on must have in common with the one before."""
        recipe = dataclasses.replace(self.recipe, steps=0)
        return {
            "name": self.name,
            "seed": self.seed,
            "recipe, steps aside,": dataclasses.asdict(recipe),
            "list of kinds": list(self.accuracies),
            "vocabulary": tokenizer.digest(),
        }

    def save(self, path: Path) -> None:
        """Write the whole state beside the checkpoint, then put it in its place."""
        state = {
            **self._identity(),
            "recipe": dataclasses.asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state(),
            "accuracies": self.accuracies,
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path) -> None:
        """
        Go on from a checkpoint.

        Raises:
            ValueError: it is of another model, seed, recipe or vocabulary; only the number of steps may differ.
        """
        state: dict[str, Any] = torch.load(path, map_location=self.device)
        for what, ours in self._identity().items():
            if state[what] != ours:
                raise ValueError(f"{path} has another {what}: take another folder, or --fresh")
        self.model.load_state_dict(state["model"])
        self.optimizer.load(state["optimizer"])
        self.accuracies, self.step = state["accuracies"], state["step"]
        self.tokens, self.seconds = state["tokens"], state["seconds"]


def parts(rows: Sequence[Row], device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield ids, targets (the next token, -1 where none is learned) and chats, `(rows, tokens)`, some at a time."""
    count = max(1, _PART_TOKENS // len(rows[0].ids))
    for first in range(0, len(rows), count):
        some = rows[first : first + count]
        ids = torch.tensor([row.ids for row in some], device=device)
        learned = torch.tensor([row.learned for row in some], device=device)
        chat = torch.tensor([row.chat for row in some], device=device)
        targets = torch.where(learned, ids, -1)[:, 1:]
        yield ids[:, :-1], targets, chat[:, :-1]


def answered(model: Model, drills: Sequence[Drill], device: torch.device) -> int:
    """Count the drills each token of whose answer is the likeliest: greedy generation would give just this answer."""
    right = 0
    encoded = []
    for drill in drills:
        ids, _ = tokenizer.encode_chat(drill.messages, drill.answer)
        asked = len(tokenizer.encode_chat(drill.messages)[0])
        encoded.append((ids, [at >= asked for at in range(len(ids))]))
    # Sorted, so that rows that go together have about one length.
    ordered = sorted(encoded, key=lambda chat: len(chat[0]))
    for some in itertools.zip_longest(*[iter(ordered)] * 25):
        group = [chat for chat in some if chat is not None]
        longest = max(len(ids) for ids, _ in group)
        rows = [row for chat in group for row in chats.pack([chat], longest)]
        for ids, targets, chat in parts(rows, device):
            best = model.logits(model(ids, chat)).argmax(-1)
            right += int(((best == targets) | (targets < 0)).all(1).sum())
    return right


def rate(step: int, recipe: Recipe) -> float:
    """
    Learning rate of a step: a short rise, then level, and over the last quarter of all steps a straight fall to 0.

    Until the fall begins a run can be made longer without beginning anew (Haegele et al. 2024).
    """
    rise, fall = 100, max(1, recipe.steps // 4)
    return recipe.rate * min(1.0, (step + 1) / rise, max(0.0, (recipe.steps - step) / fall))


@contextmanager
def until_told() -> Iterator[list[int]]:
    """Yield a list that is no longer empty once the process has been told to end."""
    told: list[int] = []

    def tell(number: int, _: FrameType | None) -> None:
        told.append(number)

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def note(path: Path, **values: object) -> None:
    """Add a line to the log of the run, which `curve` draws."""
    with path.open("a") as log:
        log.write(json.dumps(values) + "\n")


def forget_after(path: Path, step: int) -> None:
    """Take out of the log what a run noted after its last checkpoint: it will be noted again."""
    if path.exists():
        # A line that a crash has cut off was noted after the checkpoint too.
        whole = [line for line in path.read_text().splitlines() if line.endswith("}")]
        path.write_text("".join(line + "\n" for line in whole if json.loads(line)["step"] <= step))


def train(run: Run, out: Path, minutes: float) -> bool:
    """Take the steps that are left; returns whether all are taken, or the run was told to end before."""
    began = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    losses: list[float] = []
    with until_told() as told, Progress(*columns, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(run.name, total=run.recipe.steps, completed=run.step, figures="")
        while run.step < run.recipe.steps:
            losses.append(run.advance())
            late = bool(told) or time.monotonic() - began > minutes * 60
            if run.step % LOG_EVERY == 0:
                loss = sum(losses) / len(losses)
                losses.clear()
                note(out / LOG, step=run.step, loss=loss, tokens=run.tokens, seconds=run.seconds)
                right = 100 * sum(run.accuracies.values()) / len(run.accuracies)
                figures = f"loss {loss:.4f}  validation {right:.1f} %  {run.tokens / run.seconds:,.0f} tokens/s"
                bar.update(task, completed=run.step, figures=figures)
                if bar.disable:
                    print(f"{run.name} step {run.step}/{run.recipe.steps}  {figures}", flush=True)
            if run.step % LOOK_EVERY == 0 or run.step == run.recipe.steps:
                run.look()
                shares = {f"{family} {level}": share for (family, level), share in run.accuracies.items()}
                note(out / LOG, step=run.step, accuracies=shares)
                run.save(out / CHECKPOINT)
            elif late:
                run.save(out / CHECKPOINT)
            if late:
                return run.step == run.recipe.steps
    return True


def main() -> None:
    """Train the model that is named, from its checkpoint where there is one."""
    parser = argparse.ArgumentParser(prog="train", description="Train one of the bundled models from scratch.")
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--out", type=Path, required=True, help=f"folder for {CHECKPOINT} and {LOG}")
    parser.add_argument("--seed", type=int, default=1, help="of the weights and the chats (default 1)")
    parser.add_argument("--steps", type=int, help="optimizer steps (default: those of the recipe)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("--float32", action="store_true", help="multiply in float32: faster where bfloat16 is emulated")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which to save and stop")
    parser.add_argument("--fresh", action="store_true", help="begin anew where there is a checkpoint")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = RECIPES[args.name]
    if args.steps is not None:
        recipe = dataclasses.replace(recipe, steps=args.steps)
    run = Run(args.name, recipe, args.seed, torch.device(args.device), short=not args.float32)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.fresh:
        (args.out / CHECKPOINT).unlink(missing_ok=True)
    if (args.out / CHECKPOINT).exists():
        try:
            run.load(args.out / CHECKPOINT)
        except ValueError as error:
            parser.error(str(error))
    forget_after(args.out / LOG, run.step)
    print(f"{run.name}: {run.model.parameters_total():,} parameters, step {run.step} of {recipe.steps}", flush=True)
    if not train(run, args.out, args.minutes):
        print(f"stopped at step {run.step}; the same command goes on from there")


if __name__ == "__main__":
    main()
