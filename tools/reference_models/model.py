# mypy: disable-error-code="misc, untyped-decorator"
"""A llama-architecture transformer, small enough to train on one core: RMSNorm, RoPE, SwiGLU, tied embeddings."""

from dataclasses import dataclass

import torch
from tools.reference_models import tokenizer
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the model; widths in features, `context` in tokens."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    hidden: int = 320
    context: int = 2048
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class Norm(nn.Module):
    """RMSNorm: scales each feature vector to unit root mean square, then by a learned weight."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, tokens, width)` to the same shape."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """
    Turn pairs of neighbouring features by their position's angle.

    Neighbours (0, 1), (2, 3), ... are paired, as llama.cpp does for this architecture, so that the export permutes
    nothing.

    Args:
        x: `(batch, heads, tokens, head_width)`.
        cos, sin: `(tokens, head_width / 2)`.
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Block(nn.Module):
    """Causal attention, then the gated hidden layer, each added to the residual stream."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attention_norm = Norm(shape.width, shape.norm_epsilon)
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, shape.width, bias=False)
        self.value = nn.Linear(shape.width, shape.width, bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)
        self.hidden_norm = Norm(shape.width, shape.norm_epsilon)
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`(batch, tokens, width)` to the same shape."""
        batch, count, width = x.shape
        y = self.attention_norm(x)
        query, key, value = (
            part(y).view(batch, count, self.shape.heads, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.output(mixed.transpose(1, 2).reshape(batch, count, width))
        y = self.hidden_norm(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y))


class Model(nn.Module):
    """Token ids to features; `embedding` maps in and out."""

    cos: Tensor
    sin: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(tokenizer.SIZE, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.width, shape.norm_epsilon)
        frequency = shape.rope_base ** -(torch.arange(0, shape.head_width, 2) / shape.head_width)
        angle = torch.arange(shape.context)[:, None] * frequency
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        # Residual outputs start smaller, so that depth does not widen the stream at the beginning.
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                scale = (2 * shape.layers) ** -0.5 if name.endswith(("output.weight", "down.weight")) else 1.0
                nn.init.normal_(weight, std=0.02 if name.startswith("embedding") else scale * weight.shape[1] ** -0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids `(batch, tokens)` to features `(batch, tokens, width)`; `logits` turns those it is given into scores."""
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, cos, sin)
        return self.norm(x)

    def logits(self, features: Tensor) -> Tensor:
        """Features `(..., width)` to scores `(..., tokenizer.SIZE)`."""
        return functional.linear(features, self.embedding.weight)

    def parameters_total(self) -> int:
        """All weights, embeddings counted once (they are tied)."""
        return sum(weight.numel() for weight in self.parameters())
