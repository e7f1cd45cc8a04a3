"""A transformer per modality; they exchange information only through a few shared tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, cast

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Lazy
from counterpoise.core.declared import Bounds, Dropout, Heads, Layers, Length, Width
from counterpoise.core.names import ByModality
from counterpoise.core.presence import every, is_dense, some
from counterpoise.errors import InputError, check_number

from .base import Fusion


class Bottleneck(Fusion):
    """Attention bottlenecks (MBT): modalities see each other through ``tokens`` shared tokens.

    Nagrani, Yang, Arnab, Jansen, Schmid, Sun: Attention Bottlenecks for Multimodal Fusion,
    NeurIPS 2021, arXiv 2107.00135.

    1. ``x_m = [c_m; E_m z_m1 + p_m1; ..; E_m z_mT + p_mT]``: a class token, then the steps, mapped
       linearly to one width, with learned positions. ``b`` are the shared tokens.
    2. The first ``fuse_at`` layers: ``x_m := layer_m(x_m)``, of the modality's own transformer
       (normalised first, GELU, four times as wide inside).
    3. The others: ``[x_m; b_m] := layer_m([x_m; b])``, then ``b`` is the mean of ``b_m`` over the
       modalities that the sample has.
    4. ``f = mean_m (W norm_m(c_m) + a)`` over these, one linear head for all.

    A modality that a sample lacks neither reads nor writes ``b``; one that no sample of a batch
    has is not computed. Steps whose features are all zero are padding, which nothing attends to.
    The parts of the sum depend on the other modalities, so there is no exact share.

    Args:
        widths: modality -> width of its features [B, T, D]; the lengths ``T`` may differ.
        outputs: width of the logits, ``K``.
        unimodal: ``"ablate"`` or ``"aux"``, see :class:`Fusion`.
        layers: number of layers of each transformer.
        fuse_at: number of layers before the shared tokens come in. Each layer reads what the one
            before it wrote there, so from ``layers - 1`` on nothing is exchanged: late fusion.
        tokens: number of shared tokens.
        heads: number of attention heads.
        width: width of all tokens; by default that of the widest features, rounded up to a
            multiple of ``heads``.
        dropout: rate of dropout in the layers.
        length: length of the longest sequence that has positions.
    """

    policies = ("ablate", "aux")
    steps = True

    def __init__(
        self,
        widths: Mapping[str, int],
        outputs: int,
        unimodal: str = "ablate",
        *,
        layers: Layers = 2,
        fuse_at: Annotated[int, Bounds(0)] = 0,
        tokens: Length = 4,
        heads: Heads = 4,
        width: Width | None = None,
        dropout: Dropout = 0.0,
        length: Length = 512,
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        check_number("fuse_at", fuse_at, 0, layers, whole=True)
        width = -(-max(self.widths.values()) // heads) * heads if width is None else width
        if width % heads:
            raise InputError(f"width must be a multiple of heads={heads}, found {width}")
        self.width, self.fuse_at = width, fuse_at
        self.branches = ByModality(
            {m: _Branch(w, width, layers, heads, dropout, length) for m, w in self.widths.items()}
        )
        self.tokens = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.head = nn.Linear(width, outputs)

    def own_parts(self, name: str) -> list[nn.Module]:
        return [self.branches[name]]

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        like = features[next(iter(self.widths))]
        size, count = like.shape[0], torch.stack([present[m] for m in self.widths]).sum(0)
        count = count.clamp(min=1).to(like.device, like.dtype, non_blocking=True)
        parts = [
            _Part(cast(_Branch, self.branches[m]), features[m], present[m])
            for m in self.widths
            if some(present[m])
        ]
        shared = self.tokens.expand(size, -1, -1)
        for number in range(self.fuse_at):
            for part in parts:
                part.run(number)
        for number in range(self.fuse_at, len(parts[0].branch.layers) if parts else 0):
            written = [part.exchange(number, shared) for part in parts]
            shared = torch.stack(written).sum(0) / count[:, None, None]
        # The mean of linear heads is the head of the mean.
        said = [part.spread(part.token()) for part in parts]
        mean = sum(said, like.new_zeros(size, self.width)) / count[:, None]
        return cast(Tensor, self.head(mean))


class _Branch(nn.Module):
    """The modules of one modality: its map, class token, positions, layers and last norm."""

    def __init__(
        self, inputs: int, width: int, layers: int, heads: int, dropout: float, length: int
    ) -> None:
        super().__init__()
        self.map = nn.Linear(inputs, width)
        self.token = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)


class _Part:
    """The tokens of one modality between layers, for the samples that have it."""

    def __init__(self, branch: _Branch, features: Tensor, mask: Tensor) -> None:
        self.branch, self.size = branch, features.shape[0]
        self.rows: Tensor | None = None
        self.mask: Tensor | None = None
        if is_dense() and not every(mask):
            self.mask = mask.to(features.device)
        elif not every(mask):
            self.rows = mask.nonzero().squeeze(1).to(features.device, non_blocking=True)
        z, length = self.take(features), len(branch.positions)
        if z.shape[1] > length:
            raise InputError(
                f"a sequence of {z.shape[1]} steps is longer than length={length}; use "
                f"bottleneck:length={z.shape[1]}, or an encoder with fewer steps"
            )
        first = branch.token.expand(z.shape[0], 1, -1)
        self.x = torch.cat([first, branch.map(z) + branch.positions[: z.shape[1]]], 1)
        self.padding = nn.functional.pad((z == 0).all(2), (1, 0))

    def take(self, values: Tensor) -> Tensor:
        """The rows [n, ...] of the samples that have it."""
        return values if self.rows is None else values[self.rows]

    def spread(self, values: Tensor) -> Tensor:
        """[n, ...] -> [B, ...], zero for the others."""
        if self.mask is not None:
            rows = self.mask.view(-1, *[1] * (values.dim() - 1))
            return torch.where(rows, values, torch.zeros_like(values))
        if self.rows is None:
            return values
        return values.new_zeros(self.size, *values.shape[1:]).index_copy(0, self.rows, values)

    def run(self, number: int) -> None:
        self.x = self.branch.layers[number](self.x, src_key_padding_mask=self.padding)

    def exchange(self, number: int, shared: Tensor) -> Tensor:
        """Run a layer on its own and the shared tokens; returns the latter [B, tokens, D]."""
        count = shared.shape[1]
        both = torch.cat([self.x, self.take(shared)], 1)
        padding = nn.functional.pad(self.padding, (0, count))
        both = self.branch.layers[number](both, src_key_padding_mask=padding)
        self.x = both[:, :-count]
        return self.spread(both[:, -count:])

    def token(self) -> Tensor:
        """The normalised class token [n, D] after the last layer."""
        return cast(Tensor, self.branch.norm(self.x[:, 0]))
