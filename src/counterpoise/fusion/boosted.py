"""Several classifiers per modality, each added to the sum of those before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import torch
from torch import Tensor, nn

from counterpoise.core.declared import Bounds, Width
from counterpoise.core.names import ByModality

from .linear import Additive


class Boosted(Additive):
    """A growing sum of classifiers per modality that share their output layer; averaged.

    ``u_m = sum_{l = 0 .. n_m} O(relu(E_{m,l} z_m))``, ``f = mean_m u_m`` over the present
    modalities. All layers exist from the start, so that the optimiser and checkpoints know them;
    ``n_m`` is the number in use after the first, and the others get no gradient.

    Args:
        widths: modality -> width of its features.
        outputs: width of the logits, ``K``.
        unimodal: see :class:`Fusion`; the share of a modality is ``u_m``.
        layers: the most layers that a modality can get in addition to its first.
        hidden: width of the layers.
    """

    grown: Tensor

    def __init__(
        self,
        widths: Mapping[str, int],
        outputs: int,
        unimodal: str = "slice",
        *,
        layers: Annotated[int, Bounds(0, 1024)] = 10,
        hidden: Width = 256,
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.layers = ByModality(
            {
                m: nn.ModuleList(nn.Linear(w, hidden) for _ in range(1 + layers))
                for m, w in self.widths.items()
            }
        )
        for name in self.widths:
            for layer in self.added(name, every=True):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.head = nn.Linear(hidden, outputs)
        self.register_buffer("grown", torch.zeros(len(self.widths), dtype=torch.int64))
        # The same numbers on the host, which decides which layers run.
        self.counts = dict.fromkeys(self.widths, 0)
        self.register_load_state_dict_post_hook(_count)  # type: ignore[no-untyped-call]  # torch has no types here

    def added(self, name: str, every: bool = False) -> list[nn.Linear]:
        """The layers of a modality after its first: those in use, or all of them."""
        layers = list(cast(nn.ModuleList, self.layers[name]))
        return cast(list[nn.Linear], layers[1:] if every else layers[1 : 1 + self.counts[name]])

    def increments(self, name: str, features: Tensor) -> list[Tensor]:
        """The logits [B, K] that each classifier in use adds, in order; their sum is ``u_m``."""
        first = cast(nn.Linear, cast(nn.ModuleList, self.layers[name])[0])
        layers = [first, *self.added(name)]
        return [cast(Tensor, self.head(layer(features).relu())) for layer in layers]

    def grow(self, name: str, zero: bool = False) -> bool:
        """Start to use one more layer of a modality; returns False if none is left.

        Args:
            name: the modality.
            zero: let the layer start at zero, so that ``u_m`` changes by the bias of ``O`` alone.
        """
        if self.counts[name] == len(self.added(name, every=True)):
            return False
        self.counts[name] += 1
        self.grown[list(self.widths).index(name)] += 1
        layer = self.added(name)[-1]
        if zero:
            nn.init.zeros_(layer.weight)
            # The least positive number: at zero itself relu lets no gradient through.
            nn.init.constant_(layer.bias, torch.finfo(layer.bias.dtype).tiny)
        return True

    def share(self, name: str, features: Mapping[str, Tensor], counts: Tensor) -> Tensor:
        first, *others = self.increments(name, features[name])
        return sum(others, first)

    def own_parts(self, name: str) -> list[nn.Module]:
        return [self.layers[name]]


def _count(fusion: nn.Module, _: Any) -> None:
    boosted = cast(Boosted, fusion)
    boosted.counts = dict(zip(boosted.widths, boosted.grown.tolist(), strict=True))
