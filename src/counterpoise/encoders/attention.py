"""Layers of self-attention over the steps of a sequence."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from counterpoise.core.declared import Declared, Dropout, Heads, Layers, Length, Width
from counterpoise.errors import InputError

Positions = Literal["learned", "sinusoidal"]


def sinusoids(length: int, width: int) -> Tensor:
    """[length, width]: sines and cosines of each place, as in Vaswani et al. 2017."""
    half = torch.arange(0, width, 2, dtype=torch.float32)
    angles = torch.arange(length)[:, None] * torch.exp(half * (-math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]


class Attention(Declared, nn.Module):
    """Positions and layers of self-attention: [B, T, width] -> [B, T, width].

    Each layer normalises first (Xiong et al. 2020), so that no warm-up is needed, and has a hidden
    layer of ``4 * width`` with GELU.

    Args:
        width: width of each step.
        length: the largest number of steps.
        layers: number of layers, at least 1.
        heads: number of attention heads, a divisor of ``width``.
        dropout: rate of dropout within the layers and after adding positions.
        positions: ``"learned"``, or ``"sinusoidal"``, which accept any length.

    Raises:
        InputError: options that do not fit together.
    """

    positions: Tensor

    def __init__(
        self,
        width: Width,
        length: Length,
        layers: Layers = 2,
        heads: Heads = 4,
        dropout: Dropout = 0.1,
        positions: Positions = "learned",
    ) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"heads must divide the width ({width}), found {heads}")
        self.learned = positions == "learned"
        if self.learned:
            self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        else:
            self.register_buffer("positions", sinusoids(length, width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        # Not nn.TransformerEncoder, whose layers all start as copies of one.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, steps: Tensor, real: Tensor) -> Tensor:
        """Steps [B, T, width] and a mask of the real ones, bool [B, T], at least one per row."""
        length, (most, width) = steps.shape[1], self.positions.shape
        if length <= most:
            places = self.positions[:length]
        elif self.learned:
            raise InputError(f"learned positions reach to step {most}, found {length} steps")
        else:
            places = sinusoids(length, width).to(steps)
        steps = self.dropout(steps + places)
        for layer in self.layers:
            steps = layer(steps, src_key_padding_mask=~real)
        normed: Tensor = self.norm(steps)
        return normed
