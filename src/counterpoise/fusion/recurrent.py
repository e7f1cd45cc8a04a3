"""Early fusion of sequences that keep one clock: a recurrent network on all of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Lazy
from counterpoise.core.declared import Dropout, Layers, Width
from counterpoise.core.presence import some
from counterpoise.errors import InputError

from .base import Fusion


def one_length(
    fusion: Fusion, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
) -> int:
    """The number of steps that all present modalities have; 1 where none is present.

    Raises:
        InputError: they differ.
    """
    found = {m: features[m].shape[1] for m in fusion.widths if some(present[m])}
    if len(set(found.values())) > 1:
        raise InputError(
            f"{type(fusion).__name__} reads all modalities step by step and needs sequences of "
            f"one length, found {found} steps; resample them, or use fusion=bottleneck"
        )
    return next(iter(found.values()), 1)


class EarlyLSTM(Fusion):
    """A bidirectional LSTM on the features of all modalities side by side at each step.

    The early fusion of Magal, Tran, Arakawa, Nie: Negative to Positive Co-learning with Aggressive
    Modality Dropout, 2025, arXiv 2501.00865.

    ``f = W [h_T; h_1] + b`` of the last layer: the forward direction's state after the last step,
    and the backward one's after the first. Absent modalities are zeros. Pad short sequences at the
    front, which the forward direction reads first.

    The published code reads the output at the last step, where the backward direction has seen one
    step only, and puts a hidden layer with BatchNorm on it.

    Args:
        widths: modality -> width of its features [B, T, D], of one length ``T``.
        outputs: width of the logits, ``K``.
        unimodal: ``"ablate"`` or ``"aux"``, see :class:`Fusion`.
        hidden: width of the state in each direction.
        layers: number of layers, each on top of the one before.
        dropout: rate of dropout between the layers.
    """

    policies = ("ablate", "aux")
    steps = True

    def __init__(
        self,
        widths: Mapping[str, int],
        outputs: int,
        unimodal: str = "ablate",
        *,
        hidden: Width = 128,
        layers: Layers = 2,
        dropout: Dropout = 0.5,
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.lstm = nn.LSTM(
            sum(self.widths.values()),
            hidden,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=True,
        )
        self.head = nn.Linear(2 * hidden, outputs)

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        steps = one_length(self, features, present)
        # A modality that no sample has comes as zeros [B, 1, D].
        used = {m: z[:, :1].expand(-1, steps, -1) for m, z in features.items()}
        used |= {m: features[m] for m in self.widths if some(present[m])}
        joined = torch.cat([used[m] for m in self.widths], 2)
        # In evaluation mode cuDNN has no backward pass, which some methods need.
        plain = joined.is_cuda and torch.is_grad_enabled() and not self.training
        with torch.backends.cudnn.flags(enabled=False) if plain else nullcontext():
            state = self.lstm(joined)[1][0]
        return cast(Tensor, self.head(torch.cat([state[-2], state[-1]], 1)))
