"""Fusions that are what somebody's own model computes from the features of its encoders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoise.core.batch import Lazy
from counterpoise.fusion import Concat, Fusion

from .batch_norm import is_single, running_statistics
from .replay import Replay


class Replayed(Fusion):
    """Somebody's own fusion: what the model's forward computes from the features of its encoders.

    A missing modality is features of zero. Parameters between encoders and logits are in ``rest``,
    under the names they have in the model. BatchNorm there sees the zeros too; unimodal logits by
    ``"ablate"`` leave its running statistics alone.
    """

    policies = ("ablate", "aux")

    def __init__(
        self, replay: Replay, widths: Mapping[str, int], outputs: int, unimodal: str = "ablate"
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.replay: Replay = replay
        self.rest = replay.outside()

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        given = {m: features[m] for m in self.widths}
        rows = next(iter(given.values())).shape[0]
        if rows == 0:  # of a rank without samples; somebody's forward may need some
            given = {m: torch.cat([z, z.new_zeros(1, *z.shape[1:])]) for m, z in given.items()}
        with running_statistics(self.rest, self.training and is_single(rows)):
            logits = self.replay.run(given, given)[1]
        return logits if rows else logits[:0]

    def _ablate(
        self, name: str, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        with running_statistics(self.rest, True):
            return super()._ablate(name, features, present)


class WrappedConcat(Concat):
    """:class:`Concat` by a ``Linear`` that exists already.

    Args:
        replay: of a model that was found to do nothing else with its features.
        order: the modalities as their columns stand in the head's weight.
    """

    def __init__(
        self,
        replay: Replay,
        widths: Mapping[str, int],
        outputs: int,
        unimodal: str,
        order: tuple[str, ...],
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.order, self.head = order, cast(nn.Linear, replay.head)
        self.replay: Replay = replay
        self.rest = replay.outside(self.head)

    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        if self.head.bias is None:
            return F.linear(features[name], self.columns(name))
        return super().share(name, features, counts)
