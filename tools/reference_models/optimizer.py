# mypy: disable-error-code="misc, untyped-decorator"
"""
How weights move: Muon for the matrices of the blocks, AdamW for the embedding and the norms.

Muon (Jordan et al. 2024) makes the step of each matrix orthogonal, so that all its directions move alike. On these
tasks it needs far fewer samples than AdamW alone, which is what counts on one core.
"""

from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
DECAY = 0.05
"""Weight decay of the matrices, relative to the learning rate."""


def orthogonal(matrices: Tensor, rounds: int = 5) -> Tensor:
    """
    Push all singular values of each matrix to about 1, by Newton-Schulz iteration, in bfloat16: it is rough as it is.

    Args:
        matrices: `(count, rows, columns)`; the coefficients are the published quintic ones, fast rather than exact.
    """
    wide = matrices.shape[1] <= matrices.shape[2]
    x = matrices if wide else matrices.mT
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(rounds):
        square = x @ x.mT
        x = 3.4445 * x + (-4.775 * square + 2.0315 * square @ square) @ x
    return (x if wide else x.mT).to(matrices.dtype)


class Optimizer:
    """Both methods behind one `step`. Made once per run; `state` and `load` carry it over a restart."""

    def __init__(self, model: nn.Module) -> None:
        weights = dict(model.named_parameters())
        matrices = [w for name, w in weights.items() if w.ndim == 2 and not name.startswith("embedding")]
        others = [w for name, w in weights.items() if w.ndim != 2 or name.startswith("embedding")]
        self.adam = torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0)
        # Matrices of one shape are worked on as one batch.
        self.groups = [[w for w in matrices if w.shape == shape] for shape in sorted({w.shape for w in matrices})]
        self.momenta = [group[0].new_zeros(len(group), *group[0].shape) for group in self.groups]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move all weights along their gradients at this learning rate and forget the gradients."""
        for group, momentum in zip(self.groups, self.momenta, strict=True):
            gradient = torch.stack([weight.grad for weight in group if weight.grad is not None])
            momentum.lerp_(gradient, 1 - MOMENTUM)
            turned = orthogonal(gradient.lerp(momentum, MOMENTUM))
            # Scaled so, an orthogonal step is as large per entry as one of AdamW at the same rate (Liu et al. 2025).
            scale = 0.2 * max(group[0].shape) ** 0.5
            for weight, change in zip(group, turned, strict=True):
                weight.mul_(1 - rate * DECAY).sub_(change, alpha=rate * scale)
                weight.grad = None
        for settings in self.adam.param_groups:
            settings["lr"] = rate
        self.adam.step()
        self.adam.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on as if nothing had happened."""
        return {"adam": self.adam.state_dict(), "momenta": self.momenta}

    def load(self, state: dict[str, Any]) -> None:
        """Take over the state of an earlier run of the same model."""
        self.adam.load_state_dict(state["adam"])
        self.momenta = state["momenta"]
