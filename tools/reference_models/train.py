# mypy: disable-error-code="misc, untyped-decorator"
"""
Train `bundled:mini` from scratch: `python -m tools.reference_models.train --out RUN`.

Every step draws its own samples from the seed and its number, so a resumed run sees what an unbroken one would have
seen. Only the replies are learned. `RUN/checkpoint.pt` is replaced whole, so a run that is ended at any moment can be
resumed.
"""

import argparse
import dataclasses
import math
import time
from pathlib import Path

import torch
from tools.reference_models import tasks, tokenizer
from tools.reference_models.model import Model, Shape
from tools.reference_models.optimizer import Optimizer
from torch import Tensor, nn
from torch.nn import functional

MICRO_BATCH_TOKENS = 1024
"""Padded tokens that go through the model at once; a step is as many of these as its samples need."""


def batches(samples: list[tasks.Conversation], context: int) -> list[tuple[Tensor, Tensor]]:
    """
    Samples of like length together, so that little padding is computed.

    Returns:
        Pairs of ids `(batch, tokens)` and targets of the same shape; a target of -100 is not learned.
    """
    rows = sorted((tokenizer.encode_chat(s.messages(), s.answer) for s in samples), key=lambda row: len(row[0]))
    groups: list[list[tuple[list[int], list[bool]]]] = [[]]
    for row in rows:
        if len(row[0]) > context:
            continue
        if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > MICRO_BATCH_TOKENS:
            groups.append([])
        groups[-1].append(row)
    made = []
    for group in groups:
        longest = max(len(ids) for ids, _ in group)
        inputs = torch.zeros(len(group), longest - 1, dtype=torch.long)
        targets = torch.full((len(group), longest - 1), -100)
        for index, (ids, learned) in enumerate(group):
            inputs[index, : len(ids) - 1] = torch.tensor(ids[:-1])
            wanted = [token if learn else -100 for token, learn in zip(ids[1:], learned[1:], strict=True)]
            targets[index, : len(ids) - 1] = torch.tensor(wanted)
        made.append((inputs, targets))
    return made


def rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Learning rate: a linear rise, then half a cosine down to a hundredth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    along = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * along)))


@torch.no_grad()
def accuracy(model: Model, task: str, seed: int, count: int, pairs: tasks.Pairs = "all") -> float:
    """Share of fresh samples whose every reply token would be chosen greedily, in percent; cheaper than generating."""
    right = total = 0
    samples = [dataclasses.replace(s, earlier=()) for s in tasks.evaluation_samples(task, seed, count, pairs)]
    for inputs, targets in batches(samples, model.shape.context):
        best = model.logits(model(inputs)).argmax(-1)
        right += int(((best == targets) | (targets == -100)).all(1).sum())
        total += len(inputs)
    return 100.0 * right / total


def report(model: Model, seed: int, count: int) -> str:
    """One line with the accuracy of each task and of the held-out pairs."""
    figures = {task: accuracy(model, task, seed, count) for task in tasks.TASKS}
    figures["held out"] = accuracy(model, "arithmetic", seed, count, "held_out")
    return ", ".join(f"{name} {value:.1f} %" for name, value in figures.items())


def save(path: Path, model: Model, optimizer: Optimizer, step: int) -> None:
    """Write the whole state beside the checkpoint, then put it in its place."""
    state = {
        "shape": dataclasses.asdict(model.shape),
        "model": model.state_dict(),
        "optimizer": optimizer.state(),
        "step": step,
    }
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="train", description="Train bundled:mini from scratch.")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint.pt")
    parser.add_argument("--seed", type=int, default=1, help="of the weights and the samples (default 1)")
    parser.add_argument("--steps", type=int, default=2600, help="optimizer steps (default 2600)")
    parser.add_argument("--batch", type=int, default=96, help="conversations per step (default 96)")
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate (default 3e-3)")
    parser.add_argument(
        "--bare", type=float, default=0.5, help="share of steps with single questions only (default 0.5)"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="minutes after which to save and stop")
    return parser.parse_args()


def main() -> None:
    """Train, with a line of progress every 50 steps and a checkpoint with accuracies every 250."""
    args = parse()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / "checkpoint.pt"
    model = Model(Shape())
    optimizer = Optimizer(model)
    first = 0
    if args.resume:
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load(state["optimizer"])
        first = state["step"]
    print(f"{model.parameters_total():,} parameters, {model.shape}", flush=True)
    began, seen, summed = time.monotonic(), 0, 0.0
    for step in range(first, args.steps):
        # Sums are learned much sooner from questions that stand alone; chats around them come after.
        samples = tasks.training_samples(args.seed, step, args.batch, bare=step < args.bare * args.steps)
        parts = batches(samples, model.shape.context)
        learned = sum(int((targets != -100).sum()) for _, targets in parts)
        for inputs, targets in parts:
            chosen = targets != -100
            scores = model.logits(model(inputs)[chosen])
            loss = functional.cross_entropy(scores, targets[chosen], reduction="sum") / learned
            loss.backward()
            summed += float(loss.detach())
            seen += inputs.numel()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(rate(step, args.steps, args.rate, warmup=100))
        done, spent = step + 1, time.monotonic() - began
        if done % 50 == 0:
            left = spent / (done - first) * (args.steps - done) / 60
            speed = seen / spent
            print(
                f"step {done}/{args.steps}  loss {summed / 50:.4f}  {speed:,.0f} tokens/s  {left:.1f} min left",
                flush=True,
            )
            summed = 0.0
        late = spent > args.stop_after * 60
        if done % 250 == 0 or done == args.steps or late:
            save(checkpoint, model, optimizer, done)
            print(f"step {done}: {report(model, args.seed, 400)}", flush=True)
        if late:
            break


if __name__ == "__main__":
    main()
