# mypy: disable-error-code="misc, untyped-decorator"
"""A Llama-architecture decoder, small enough to train on two cores: RMSNorm, RoPE, SwiGLU, tied embeddings."""

import torch
from tools.reference_models import tokenizer
from tools.reference_models.recipes import Shape
from torch import Tensor, nn
from torch.nn import functional


class Norm(nn.Module):
    """RMSNorm: scales each feature vector to unit root mean square, then by a learned weight."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, tokens, width)` to the same shape."""
        return functional.rms_norm(x, self.weight.shape, self.weight, self.epsilon)


def visible(chat: Tensor) -> Tensor:
    """
    What may be attended to: earlier tokens of the same chat, and oneself.

    Args:
        chat: `(rows, tokens)`, the number of the chat that each token belongs to.
    Returns:
        What is added to the scores, `(rows, 1, tokens, tokens)`: 0, or minus infinity.
    """
    same = chat[:, None, :, None] == chat[:, None, None, :]
    return torch.zeros_like(same, dtype=torch.float32).masked_fill_(~same.tril(), -torch.inf)


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

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """`(batch, tokens, width)` to the same shape; `mask` as `visible` makes it."""
        batch, count, width = x.shape
        y = self.attention_norm(x)
        query, key, value = (
            part(y).view(batch, count, self.shape.heads, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        # Written out: in bfloat16 with a mask a step of `base` takes 0.5 s so, and 0.75 s with PyTorch's own (by hand).
        scores = query @ key.mT * query.shape[-1] ** -0.5 + mask
        mixed = scores.softmax(-1) @ value
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

    def forward(self, ids: Tensor, chat: Tensor) -> Tensor:
        """
        Features `(rows, tokens, width)`; `logits` turns those it is given into scores.

        Places are counted from the beginning of the row, not of the chat: only distances matter to RoPE.

        Args:
            ids: `(rows, tokens)`.
            chat: `(rows, tokens)`, which chat each token belongs to.
        """
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x, mask = self.embedding(ids), visible(chat)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return self.norm(x)

    def logits(self, features: Tensor) -> Tensor:
        """Features `(..., width)` to scores `(..., tokenizer.SIZE)`."""
        return functional.linear(features, self.embedding.weight)

    def parameters_total(self) -> int:
        """All weights, embeddings counted once (they are tied)."""
        return sum(weight.numel() for weight in self.parameters())
