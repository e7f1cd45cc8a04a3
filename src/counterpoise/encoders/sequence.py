"""Encoders of sequences [C, T] that read them step by step."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from counterpoise.errors import check_choice, check_number

from .attention import Attention
from .base import Encoder, Shapes, shape_of
from .pooling import POOLS, blank, last_step, pool, real_steps


class LSTM(Encoder):
    """A recurrent network: [B, C, T] -> [B, width], or [B, 2 * width] in both directions.

    Args:
        channels: ``C``.
        width: width of the state in each direction.
        layers: number of layers, each on top of the one before.
        bidirectional: read backwards too.
        dropout: rate of dropout between the layers.
        pool: ``"last"``: the state of each direction after the last step that it reads; or the
            ``"mean"`` or ``"max"`` of all steps.
        padding: steps of zeros at the end of a sequence are padding and are not read.
        steps: return all steps, [B, T, width], with zeros where there is padding.
    """

    name = "lstm"
    kind = "sequence"

    def __init__(
        self,
        channels: int,
        width: int = 128,
        *,
        layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pool: str = "last",
        padding: bool = True,
        steps: bool = False,
    ) -> None:
        super().__init__()
        check_number("layers", layers, 1, whole=True)
        check_number("dropout", dropout, 0, 1)
        check_choice("pool", pool, ("last", "mean", "max"))
        self.pool, self.padding, self.steps = pool, padding, steps
        self.lstm = nn.LSTM(
            channels,
            width,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
        )

    @classmethod
    def arguments(cls, shape: Shapes, width: int) -> tuple[Any, ...]:
        return shape_of(shape, "sequence", 2)[0], width

    def forward(self, sequences: Tensor) -> Tensor:
        real = real_steps(sequences)
        if self.padding:  # zeros inside a sequence are steps
            places = torch.arange(real.shape[1], device=real.device)
            real = places <= last_step(real)[:, None]
        else:
            real = torch.ones_like(real)
        states, last = self._read(sequences.transpose(1, 2), real)
        if self.steps:
            return blank(states, real)
        if self.pool != "last":
            return pool(states, real, self.pool)
        return last if self.lstm.bidirectional else pool(states, real, "last")

    def _read(self, rows: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """The states [B, T, D] of all steps, and those [B, D] after the last step read."""
        # In evaluation mode cuDNN has no backward pass, which some methods need.
        plain = rows.is_cuda and torch.is_grad_enabled() and not self.training
        with torch.backends.cudnn.flags(enabled=False) if plain else nullcontext():
            if self.padding and self.lstm.bidirectional:
                # The backward direction would read the padding first.
                lengths = real.sum(1).cpu()
                packed = pack_padded_sequence(rows, lengths, batch_first=True, enforce_sorted=False)
                found, (state, _) = self.lstm(packed)
                states, _ = pad_packed_sequence(found, batch_first=True, total_length=rows.shape[1])
            else:
                states, (state, _) = self.lstm(rows)
        both = state[-2:] if self.lstm.bidirectional else state[-1:]
        return states, both.transpose(0, 1).flatten(1)


class Transformer(Encoder):
    """Self-attention over time (Vaswani et al. 2017): [B, C, T] -> [B, width].

    Args:
        channels: ``C``.
        length: the largest number of steps, ``T``.
        width: width of each step and of the features.
        layers: number of layers, at least 1.
        heads: number of attention heads, a divisor of ``width``.
        dropout: rate of dropout within the layers.
        positions: ``"learned"`` or ``"sinusoidal"``.
        pool: the ``"mean"`` or ``"max"`` of all steps, the ``"first"`` or the ``"last"``.
        padding: steps of zeros are padding, neither attended to nor pooled. If a sequence holds
            nothing but zeros, its first step is read.
        steps: return all steps, [B, T, width], with zeros where there is padding.
    """

    name = "transformer"
    kind = "sequence"

    def __init__(
        self,
        channels: int,
        length: int,
        width: int = 128,
        *,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        positions: str = "learned",
        pool: str = "mean",
        padding: bool = True,
        steps: bool = False,
    ) -> None:
        super().__init__()
        check_choice("pool", pool, POOLS)
        self.pool, self.padding, self.steps = pool, padding, steps
        self.embed = nn.Linear(channels, width)
        self.attention = Attention(width, length, layers, heads, dropout, positions)

    @classmethod
    def arguments(cls, shape: Shapes, width: int) -> tuple[Any, ...]:
        return *shape_of(shape, "sequence", 2), width

    def forward(self, sequences: Tensor) -> Tensor:
        real = real_steps(sequences)
        if not self.padding:
            real = torch.ones_like(real)
        states = self.attention(self.embed(sequences.transpose(1, 2)), real)
        return blank(states, real) if self.steps else pool(states, real, self.pool)


class Steps(Encoder):
    """The sequence itself, for fusions of sequences: [B, C, T] -> [B, T, C]; no parameters."""

    name = "steps"
    kind = "sequence"
    sized = False
    padding = True

    @classmethod
    def arguments(cls, shape: Shapes, width: int) -> tuple[Any, ...]:
        shape_of(shape, "sequence", 2)
        return ()

    def forward(self, sequences: Tensor) -> Tensor:
        return sequences.transpose(1, 2)
