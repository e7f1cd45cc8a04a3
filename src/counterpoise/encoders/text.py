"""An encoder of token numbers, which text readers produce."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Input
from counterpoise.core.declared import Bounds, Dropout, Heads, Vocabulary, Width
from counterpoise.data.readers import Text
from counterpoise.errors import InputError, check_number

from .attention import Attention, Positions
from .base import Encoder, Shapes
from .pooling import Pool, blank, pool, some_step

if TYPE_CHECKING:
    from counterpoise.data.dataset import Dataset

IDS, MASK = "input_ids", "attention_mask"
PART = 4096  # samples read at once in the search for the largest token


def ids_and_mask(tokens: Input, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Token numbers [B, T] and a mask of the real ones, bool [B, T], at least one per row.

    Without an attention mask ``padding`` is.
    """
    ids = tokens if isinstance(tokens, Tensor) else tokens[IDS]
    mask = None if isinstance(tokens, Tensor) else tokens.get(MASK)
    return ids, some_step(ids != padding if mask is None else mask != 0)


class Embedded(nn.Embedding):
    """A vector for each token, [B, T] -> [B, T, width]; numbers outside of the vocabulary are 0."""

    def forward(self, ids: Tensor) -> Tensor:
        known = (ids >= 0) & (ids < self.num_embeddings)
        return super().forward(ids.where(known, 0))


class Tokens(Encoder):
    """A vector for each token, then self-attention: token numbers [B, T] -> [B, width].

    Takes ``{"input_ids", "attention_mask"}`` or token numbers alone, of which 0 is padding. Numbers
    outside of the vocabulary count as 0.

    Args:
        length: the largest number of tokens, ``T``.
        width: width of each token and of the features.
        vocabulary: number of different tokens. Required, but ``build_model`` finds it.
        layers: layers of self-attention; 0 ignores the order of the tokens (a bag of words).
        heads: number of attention heads, a divisor of ``width``.
        dropout: rate of dropout within the layers.
        positions: ``"learned"`` or ``"sinusoidal"``.
        pool: the ``"mean"`` or ``"max"`` of all tokens, the ``"first"`` or the ``"last"``.
        steps: return all tokens, [B, T, width], with zeros where there is none.
    """

    name = "tokens"

    def __init__(
        self,
        length: int,
        width: Width = 128,
        *,
        vocabulary: Vocabulary = 0,
        layers: Annotated[int, Bounds(0, 1024)] = 2,
        heads: Heads = 4,
        dropout: Dropout = 0.1,
        positions: Positions = "learned",
        pool: Pool = "mean",
        steps: bool = False,
    ) -> None:
        super().__init__()
        check_number("vocabulary", vocabulary, 1, whole=True)
        self.vocabulary, self.pool, self.steps = vocabulary, pool, steps
        self.embed = Embedded(vocabulary, width)
        self.attention = (
            Attention(width, length, layers, heads, dropout, positions) if layers else None
        )

    @classmethod
    def arguments(cls, shape: Shapes, width: int) -> tuple[Any, ...]:
        return find_length(shape), width

    @classmethod
    def fill_options(cls, options: Mapping[str, Any], data: Dataset, name: str) -> dict[str, Any]:
        return fill_vocabulary(options, data, name)

    def forward(self, tokens: Input) -> Tensor:
        ids, real = ids_and_mask(tokens)
        states = self.embed(ids)
        if self.attention is not None:
            states = self.attention(states, real)
        return blank(states, real) if self.steps else pool(states, real, self.pool)


def find_length(shape: Shapes) -> int:
    """``T`` of token numbers [T], alone or in a dict that has them; InputError for others."""
    ids = shape.get(IDS) if isinstance(shape, Mapping) else shape
    if ids is None or len(ids) != 1:
        found = list(shape) if not isinstance(shape, Mapping) else ", ".join(shape)
        raise InputError(f"tokens are {IDS} [T], or a dict that has them, found {found}")
    return ids[0]


def holds_tokens(data: Dataset, name: str) -> bool:
    """Whether a modality holds token numbers [T], alone or in a dict."""
    spec = data.specs[name]
    dtype, shape = spec.get(IDS, spec.get("", ("", ())))
    return dtype.startswith("int") and len(shape) == 1


def fill_vocabulary(options: Mapping[str, Any], data: Dataset, name: str) -> dict[str, Any]:
    """The options, with the vocabulary of the data where they name none.

    Warns of negative token numbers, which no vocabulary holds.
    """
    if "vocabulary" in options:
        return dict(options)
    reader = data.readers.get(name)
    if isinstance(reader, Text):
        return {**options, "vocabulary": reader.vocabulary_size}
    lowest, largest = find_range(data, name, masked=True)
    if lowest < 0 and holds_tokens(data, name):
        data.warn(
            f"{name}: token numbers from {lowest}; negative ones count as the token 0, and as "
            f"padding only where {MASK} is 0"
        )
    return {**options, "vocabulary": largest + 1}


def find_range(
    data: Dataset, name: str, part: str = "train", *, masked: bool = False
) -> tuple[int, int]:
    """The smallest and the largest token number of a split, at most and at least 0.

    Args:
        data: the data set.
        name: of the modality.
        part: which split.
        masked: padding does not count for the smallest.
    """
    column, lowest, largest = data.splits[part].column(name), 0, 0
    for rows in torch.split(torch.arange(len(data.splits[part])), PART):
        ids, real = ids_and_mask(column.rows(rows))
        largest = max(largest, int(ids.max()))
        lowest = min(lowest, int((ids.where(real, 0) if masked else ids).min()))
    return lowest, largest
