"""Encoders of sequences [C, T] that read them step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from counterpoise.core.batch import Input
from counterpoise.core.declared import Dropout, Heads, Layers, Vocabulary, Width
from counterpoise.core.presence import is_dense
from counterpoise.errors import InputError

from .attention import Attention, Positions
from .base import Encoder, Shapes, shape_of
from .pooling import Pool, blank, last_step, pool, put_first, real_steps
from .recurrent import read_both_ways
from .text import Embedded, fill_vocabulary, find_length, holds_tokens, ids_and_mask

if TYPE_CHECKING:
    from typing_extensions import Self

    from counterpoise.data.dataset import Dataset


class Recurrent(Encoder):
    """The base of recurrent networks, over steps of numbers or over tokens.

    Attributes:
        part: the name of the network among the parameters.
        network: its class.
    """

    kind = "sequence"
    part: ClassVar[str] = "lstm"
    network: ClassVar[Callable[..., nn.RNNBase]] = nn.LSTM

    def __init__(
        self,
        channels: int,
        width: Width = 128,
        *,
        layers: Layers = 1,
        bidirectional: bool = False,
        dropout: Dropout = 0.0,
        pool: Literal["last", "mean", "max"] = "last",
        padding: bool = True,
        steps: bool = False,
        vocabulary: Vocabulary = 0,
    ) -> None:
        super().__init__()
        self.pool, self.padding, self.steps = pool, padding, steps
        self.embed = Embedded(vocabulary, channels) if vocabulary else None
        if vocabulary:
            self.kind = ""  # tokens are used as they are
        network = self.network(
            channels,
            width,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=bidirectional,
        )
        self.add_module(self.part, network)

    @classmethod
    def arguments(cls, shape: Shapes, width: int) -> tuple[Any, ...]:
        if isinstance(shape, Mapping) or len(shape) == 1:
            find_length(shape)
            return width, width
        return shape_of(shape, "sequence", 2)[0], width

    @classmethod
    def build(cls, shape: Shapes, width: int = 128, **options: Any) -> Self:
        tokens = isinstance(shape, Mapping) or len(shape) == 1
        if not tokens and options.get("vocabulary"):
            raise InputError(f"vocabulary is of tokens [T], found samples {list(shape)}")
        if tokens and not options.get("vocabulary"):
            find_length(shape)
            shape_of(shape, "sequence", 2)  # numbers [F] are none
        return super().build(shape, width, **options)

    @classmethod
    def fill_options(cls, options: Mapping[str, Any], data: Dataset, name: str) -> dict[str, Any]:
        return fill_vocabulary(options, data, name) if holds_tokens(data, name) else dict(options)

    def forward(self, sequences: Input) -> Tensor:
        if self.embed is not None:
            return self._read_tokens(sequences)
        if not isinstance(sequences, Tensor):
            raise InputError(f"sequences are one tensor [B, C, T], found {', '.join(sequences)}")
        real = real_steps(sequences)
        if self.padding:  # zeros inside a sequence are steps
            places = torch.arange(real.shape[1], device=real.device)
            real = places <= last_step(real)[:, None]
        else:
            real = torch.ones_like(real)
        return self._pool(*self._read(sequences.transpose(1, 2), real), real)

    def _read_tokens(self, tokens: Input) -> Tensor:
        assert self.embed is not None
        ids, real = ids_and_mask(tokens)
        if not self.padding:
            real = torch.ones_like(real)
        # What is left of a token or between two is padding too: the real ones come first.
        places = put_first(real)
        front = torch.zeros_like(real).scatter(1, places, real)
        states, last = self._read(self.embed(torch.zeros_like(ids).scatter(1, places, ids)), front)
        if not self.steps:
            return self._pool(states, last, front)
        return blank(states.gather(1, places[:, :, None].expand_as(states)), real)

    def _pool(self, states: Tensor, last: Tensor, real: Tensor) -> Tensor:
        if self.steps:
            return blank(states, real)
        if self.pool != "last":
            return pool(states, real, self.pool)
        return last if self._network.bidirectional else pool(states, real, "last")

    @property
    def _network(self) -> nn.RNNBase:
        return cast(nn.RNNBase, self.get_submodule(self.part))

    def _read(self, rows: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """The states [B, T, D] of all steps, and those [B, D] after the last step read."""
        network = self._network
        # In evaluation mode cuDNN has no backward pass, which some methods need.
        plain = rows.is_cuda and torch.is_grad_enabled() and not self.training
        with torch.backends.cudnn.flags(enabled=False) if plain else nullcontext():
            if self.padding and network.bidirectional and is_dense() and not self.training:
                return read_both_ways(network, rows, real)
            if self.padding and network.bidirectional:
                # The backward direction would read the padding first.
                lengths = real.sum(1).cpu()
                packed = pack_padded_sequence(rows, lengths, batch_first=True, enforce_sorted=False)
                found, state = network(packed)
                states, _ = pad_packed_sequence(found, batch_first=True, total_length=rows.shape[1])
            else:
                states, state = network(rows)
        hidden = state[0] if isinstance(state, tuple) else state
        both = hidden[-2:] if network.bidirectional else hidden[-1:]
        return states, both.transpose(0, 1).flatten(1)


class LSTM(Recurrent):
    """A recurrent network: [B, C, T] or tokens [B, T] -> [B, width], or [B, 2 * width] both ways.

    Tokens get a vector each first, of ``width``; they are ``{"input_ids", "attention_mask"}`` or
    token numbers alone, of which 0 is padding.

    Args:
        channels: ``C``; of tokens, the width of their vectors.
        width: width of the state in each direction.
        layers: number of layers, each on top of the one before.
        bidirectional: read backwards too.
        dropout: rate of dropout between the layers.
        pool: ``"last"``: the state of each direction after the last step that it reads; or the
            ``"mean"`` or ``"max"`` of all steps.
        padding: steps of zeros at the end of a sequence, or tokens without a mask, are padding and
            are not read.
        steps: return all steps, [B, T, width], with zeros where there is padding.
        vocabulary: number of different tokens, which ``build_model`` finds; 0 for sequences of
            real numbers.
    """

    name = "lstm"


class GRU(Recurrent):
    """Gated recurrent units (Cho et al. 2014), which read what `lstm` reads and give the same.

    Args:
        channels: ``C``; of tokens, the width of their vectors.
        width: width of the state in each direction.
        layers: number of layers, each on top of the one before.
        bidirectional: read backwards too.
        dropout: rate of dropout between the layers.
        pool: ``"last"``: the state of each direction after the last step that it reads; or the
            ``"mean"`` or ``"max"`` of all steps.
        padding: steps of zeros at the end of a sequence, or tokens without a mask, are padding and
            are not read.
        steps: return all steps, [B, T, width], with zeros where there is padding.
        vocabulary: number of different tokens, which ``build_model`` finds; 0 for sequences of
            real numbers.
    """

    name = "gru"
    part = "gru"
    network = nn.GRU


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
        width: Width = 128,
        *,
        layers: Layers = 2,
        heads: Heads = 4,
        dropout: Dropout = 0.1,
        positions: Positions = "learned",
        pool: Pool = "mean",
        padding: bool = True,
        steps: bool = False,
    ) -> None:
        super().__init__()
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
