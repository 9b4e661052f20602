"""Write a checkpoint in all forms: `python -m tools.reference_models.export RUN`."""

import argparse
from pathlib import Path

import torch
from tools.reference_models import gguf_file, hub
from tools.reference_models.model import Model
from tools.reference_models.recipes import Shape
from tools.reference_models.train import CHECKPOINT


def main() -> None:
    """Write `NAME-f16.gguf`, `NAME-q8_0.gguf` and the folder `NAME` beside the checkpoint."""
    parser = argparse.ArgumentParser(prog="export", description="Write a checkpoint as GGUF and as safetensors.")
    parser.add_argument("run", type=Path, help=f"folder with {CHECKPOINT}")
    args = parser.parse_args()
    state = torch.load(args.run / CHECKPOINT, map_location="cpu")
    name = state["name"]
    model = Model(Shape(**state["recipe"]["shape"]))
    model.load_state_dict(state["model"])
    print(f"{name}: {model.parameters_total():,} parameters, step {state['step']}")
    for precision in gguf_file.PRECISIONS:
        path = args.run / f"{name}-{precision}.gguf"
        partial = path.with_suffix(".new")
        gguf_file.write(name, model, precision, partial)
        partial.replace(path)
        print(f"{path}: {path.stat().st_size:,} bytes")
    hub.write(model, args.run / name)
    total = sum(file.stat().st_size for file in (args.run / name).iterdir())
    print(f"{args.run / name}: {total:,} bytes")


if __name__ == "__main__":
    main()
