"""Squeeze-and-excitation gates between the modalities, and a classifier for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Lazy
from counterpoise.core.declared import WIDEST, Bounds
from counterpoise.core.names import ByModality
from counterpoise.core.presence import every

from .linear import Additive


class MMTM(Additive):
    """A classifier per modality on features that all modalities gate, averaged (MMTM).

    ``q = relu(S [z_1; ..; z_M] + s)``, ``e_m = sigmoid(E_m q + c_m)``,
    ``u_m = W_m (e_m * z_m) + b_m``, ``f = mean_m u_m`` over the present modalities. In ``q`` the
    mean feature stands for a missing modality; means are tracked by the method that trains, and
    are zero otherwise.

    Attributes:
        held: a modality whose gate is, while training, its running mean; ``None`` for none. Its
            branch then gets nothing from the others, and its ``E_m`` gets no gradient.

    Args:
        widths: modality -> width of its features.
        outputs: width of the logits, ``K``.
        unimodal: see :class:`Fusion`; the share of a modality is ``u_m``, gate included.
        ratio: ``q`` is ``2 D / ratio`` wide, ``D`` the sum of the widths.
    """

    gate_mean: Tensor
    feature_mean: Tensor
    tracked: Tensor

    def __init__(
        self,
        widths: Mapping[str, int],
        outputs: int,
        unimodal: str = "slice",
        *,
        ratio: Annotated[int, Bounds(1, WIDEST)] = 4,
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        total = sum(self.widths.values())
        width = max(1, 2 * total // ratio)
        self.squeeze = nn.Linear(total, width)
        self.excitations = ByModality({m: nn.Linear(width, w) for m, w in self.widths.items()})
        self.heads = ByModality({m: nn.Linear(w, outputs) for m, w in self.widths.items()})
        self.register_buffer("gate_mean", torch.zeros(total))
        self.register_buffer("feature_mean", torch.zeros(total))
        self.register_buffer("tracked", torch.zeros(len(self.widths), dtype=torch.int64))
        self.held: str | None = None
        self.register_load_state_dict_pre_hook(_rename)  # type: ignore[no-untyped-call]  # torch has no types here

    def gates(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Modality -> gate [B, D] of each sample, whether held or not."""
        squeezed = self._squeeze(features, present)
        return {m: self._gate(m, squeezed) for m in self.widths}

    def track(self, name: str, gate: Tensor, feature: Tensor) -> None:
        """Add a step's mean gate and mean feature [D] of one modality to the running means."""
        tracked = self.tracked[list(self.widths).index(name)]
        for mean, value in ((self.gate_mean, gate), (self.feature_mean, feature)):
            part = self._slice(name, mean)
            part += (value - part) / (tracked + 1)
        tracked += 1

    def own_parts(self, name: str) -> list[nn.Module]:
        return [self.excitations[name], self.heads[name]]

    def _shares(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Lazy:
        squeezed = self._squeeze(features, present)

        def share(name: str) -> Tensor:
            held = self.training and name == self.held
            gate = self._slice(name, self.gate_mean) if held else self._gate(name, squeezed)
            return cast(Tensor, self.heads[name](features[name] * gate))

        return Lazy(tuple(self.widths), share)

    def _squeeze(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        inputs = []
        for name in self.widths:
            z, mask = features[name], present[name]
            if not every(mask):
                rows = mask.to(z.device, non_blocking=True)[:, None]
                z = torch.where(rows, z, self._slice(name, self.feature_mean))
            inputs.append(z)
        return cast(Tensor, self.squeeze(torch.cat(inputs, 1))).relu()

    def _gate(self, name: str, squeezed: Tensor) -> Tensor:
        return cast(Tensor, self.excitations[name](squeezed)).sigmoid()

    def _slice(self, name: str, joined: Tensor) -> Tensor:
        """The entries of one modality in a vector [D] over all modalities."""
        parts = torch.split(joined, list(self.widths.values()))
        return parts[list(self.widths).index(name)]


def _rename(_: nn.Module, state: dict[str, Any], prefix: str, *__: Any) -> None:
    """Rename ``steps``, as early checkpoints of version 0.1 call it, to ``tracked``."""
    if (old := f"{prefix}steps") in state:
        state[f"{prefix}tracked"] = state.pop(old)
