"""Fusions in which one modality acts on another: FiLM and gates; they have no exact shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Lazy
from counterpoise.core.names import ByModality
from counterpoise.core.presence import some
from counterpoise.errors import InputError, unknown

from .base import Fusion, weights


class _Conditioned(Fusion):
    """Base of fusions with a linear map for each modality that needs one, and a linear head."""

    policies = ("ablate", "aux")
    maps: ByModality

    def _choose_role(self, argument: str, name: str | None) -> str:
        """The modality that an argument names; by default the first."""
        if len(self.widths) < 2:
            raise InputError(
                f"{type(self).__name__} needs at least two modalities, found {list(self.widths)}"
            )
        if name is not None and name not in self.widths:
            raise unknown(f"modality in {argument}", name, self.widths)
        return name or next(iter(self.widths))

    def _map(self, name: str, features: Mapping[str, Tensor]) -> Tensor:
        z = features[name]
        return cast(Tensor, self.maps[name](z)) if name in self.maps else z

    def own_parts(self, name: str) -> list[nn.Module]:
        return [self.maps[name]] if name in self.maps else []


class FiLM(_Conditioned):
    """One modality scales and shifts the features of the others (FiLM).

    ``(gamma, beta) = G z_q`` of the conditioner ``q``, ``h = gamma * mean_k T_k z_k + beta`` over
    the present ``k != q``, ``f = W h + b``. With two modalities ``T`` is the identity. Without any
    ``k``, ``h = beta``; without ``q``, nothing is modulated: ``gamma = 1`` and ``beta = 0``.

    Args:
        widths: modality -> width of its features, at least two.
        outputs: width of the logits, ``K``.
        unimodal: ``"ablate"`` or ``"aux"``, see :class:`Fusion`.
        conditioner: the modality ``q``; the first by default.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        outputs: int,
        unimodal: str = "ablate",
        *,
        conditioner: str | None = None,
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.conditioner = self._choose_role("conditioner", conditioner)
        others = {m: w for m, w in self.widths.items() if m != self.conditioner}
        self.width = max(others.values())
        maps = {m: nn.Linear(w, self.width) for m, w in others.items() if len(others) > 1}
        maps[self.conditioner] = nn.Linear(self.widths[self.conditioner], 2 * self.width)
        self.maps = ByModality(maps)
        self.head = nn.Linear(self.width, outputs)

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        h, here = self._average_others(features, present), present[self.conditioner]
        if some(here):
            both = self._map(self.conditioner, features)
            gamma, beta = torch.split(both, self.width, 1)
            rows = here.to(h.device, non_blocking=True)[:, None]
            h = torch.where(rows, gamma * h + beta, h)
        return cast(Tensor, self.head(h))

    def _average_others(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        """[B, D]: the mean over the present modalities except the conditioner; 0 without any."""
        like = features[self.conditioner]
        total, count = like.new_zeros(like.shape[0], self.width), like.new_zeros(like.shape[0], 1)
        for name in self.widths:
            if name != self.conditioner and some(present[name]):
                mask = weights(present[name], like)
                total = total + self._map(name, features) * mask
                count = count + mask
        return total / count.clamp(min=1)


class Gated(_Conditioned):
    """One modality opens and closes the features of another; of more than two, each gates all.

    Two modalities, gate ``q``: ``h = sigmoid(T_q z_q) * T_k z_k``, ``f = W h + b``. Without ``q``
    the gate is half open; without ``k`` the gate itself passes. More than two: the gated
    multimodal unit ``h = sum_m softmax_m(G_m z_1..M) * tanh(T_m z_m)``, the softmax over the
    present modalities in each of the dimensions.

    Args:
        widths: modality -> width of its features, at least two. The widest is the common width.
        outputs: width of the logits, ``K``.
        unimodal: ``"ablate"`` or ``"aux"``, see :class:`Fusion`.
        gate: the modality ``q``, of two; the first by default.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        outputs: int,
        unimodal: str = "ablate",
        *,
        gate: str | None = None,
    ) -> None:
        super().__init__(widths, outputs, unimodal)
        self.gate: str | None = self._choose_role("gate", gate)
        if len(self.widths) > 2:
            if gate is not None:
                raise InputError(f"gate is for two modalities, found {len(self.widths)}")
            self.gate = None
        self.width = max(self.widths.values())
        self.maps = ByModality({m: nn.Linear(w, self.width) for m, w in self.widths.items()})
        if self.gate is None:
            everything, count = sum(self.widths.values()), len(self.widths)
            self.gates = nn.Linear(everything, count * self.width)
        self.head = nn.Linear(self.width, outputs)

    def logits(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], shares: Lazy
    ) -> Tensor:
        h = self._gate_by_one if self.gate is not None else self._gate_by_all
        return cast(Tensor, self.head(h(features, present)))

    def _gate_by_one(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        h = features[next(iter(self.widths))].new_ones(())
        for name in self.widths:
            rows = present[name].to(h.device, non_blocking=True)[:, None]
            gate = name == self.gate
            if some(present[name]):
                value = self._map(name, features)
                value = value.sigmoid() if gate else value
                h = h * torch.where(rows, value, torch.full_like(value, 0.5 if gate else 1.0))
            elif gate:
                h = h * 0.5
        return h.expand(rows.shape[0], self.width)

    def _gate_by_all(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        joined = torch.cat([features[m] for m in self.widths], 1)
        scores = cast(Tensor, self.gates(joined)).view(joined.shape[0], -1, self.width)
        here = torch.stack([present[m] for m in self.widths], 1).to(joined.device)[..., None]
        # The lowest number, not infinity: a sample with no modality at all must stay finite.
        shares = scores.masked_fill(~here, torch.finfo(scores.dtype).min).softmax(1)
        h = joined.new_zeros(joined.shape[0], self.width)
        for k, name in enumerate(self.widths):
            if some(present[name]):
                value = self._map(name, features).tanh()
                h = h + shares[:, k] * value * weights(present[name], value)
        return h
