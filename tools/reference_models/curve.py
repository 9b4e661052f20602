"""Draw how a model was trained: `python -m tools.reference_models.curve RUN out.svg`."""

import argparse
import json
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from tools.reference_models.train import LOG

from penstock.optimize.drills.drill import LEVELS

_COLORS: Final = {"easy": "tab:blue", "hard": "tab:orange"}


def draw(lines: list[dict[str, Any]], title: str) -> Figure:
    """
    Return the loss above, and below it the share of validation drills that were answered right.

    Args:
        lines: of the run's log: those with `loss` and those with `accuracies`, by `step`.
    """
    losses = [line for line in lines if "loss" in line]
    looks = [line for line in lines if "accuracies" in line]
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot([line["step"] for line in losses], [line["loss"] for line in losses], color="black", linewidth=1)
    above.set(yscale="log", ylabel="loss per answer token", title=title)
    steps = [look["step"] for look in looks]
    for level in LEVELS:
        kinds = [kind for kind in (looks[-1]["accuracies"] if looks else ()) if kind.endswith(level)]
        shares = [[100 * look["accuracies"][kind] for look in looks] for kind in kinds]
        for each in shares:
            below.plot(steps, each, color=_COLORS[level], linewidth=0.5, alpha=0.4)
        if shares:
            means = [sum(column) / len(column) for column in zip(*shares, strict=True)]
            below.plot(steps, means, color=_COLORS[level], linewidth=2, label=f"{level}, all families")
    below.set(xlabel="step", ylabel="validation drills right, %", ylim=(0, 101))
    if looks:
        below.legend(loc="lower right")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def main() -> None:
    """Read the log of a run and write the picture."""
    parser = argparse.ArgumentParser(prog="curve", description="Draw loss and accuracy of a training run.")
    parser.add_argument("run", type=Path, help=f"folder with {LOG}")
    parser.add_argument("picture", type=Path, help="file to write: .svg, .png or .pdf")
    args = parser.parse_args()
    mpl.rcParams["svg.hashsalt"] = "penstock"  # the same run gives the same file
    lines = [json.loads(line) for line in (args.run / LOG).read_text().splitlines()]
    metadata = {"Date": None} if args.picture.suffix == ".svg" else None
    draw(lines, f"Training of {args.run.name}").savefig(args.picture, metadata=metadata)


if __name__ == "__main__":
    main()
