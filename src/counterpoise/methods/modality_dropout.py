"""AMD: aggressive modality dropout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, map_tensors
from counterpoise.core.declared import Bounds
from counterpoise.core.presence import known
from counterpoise.core.tasks import Task
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, unknown
from counterpoise.models.multimodal import MultimodalModel


class ModalityDropout(Method):
    """Drop each modality at random, and often, in training, so that the model leans on none (AMD).

    It is made for models that are deployed with fewer modalities than they were trained with: use a
    rate of 0.8 for the helpers and 0 for the modality that will be there. With the same rate for
    all, the model serves any subset.

    Problem: a head that never saw a modality missing leans on the modality that was learnt first.

    Formula:
        Modality ``m`` is kept with probability ``1 - rates[m]``; a dropped modality is absent,
        exactly as if it were missing from the data: its encoder does not run and the head sees zero
        features. Where the draws would leave a sample with nothing, the modality closest to being
        kept (with the largest draw relative to its rate) stays. Kept features are not rescaled, and
        evaluation drops nothing.

    Args:
        rates: probability of dropping each modality: a number for all, or modality -> number
            (0 for those not named, which are then always kept).
        granularity: one draw for a whole ``"batch"`` (a dropped modality is then not encoded at
            all in that step), or for each ``"sample"``.
        coupling: ``"independent"`` draws, one per modality, or one ``"shared"`` draw that is
            compared with every rate: modalities with equal rates are then dropped together, and
            with unequal rates one only when the other is.
        mode: ``"paper"``, or ``"released"``: what the published code computes.

    Cost: less than joint training: with two modalities, a rate of 0.8 and whole batches, 52 % of
    its encoder work.

    State: none. Every draw is a function of seed, epoch and batch (or sample), so it is the same on
    every rank and after a resume.

    Missing: the draws apply to the modalities that a sample has.

    Differs: the paper speaks of dropping each modality with a probability. The published code draws
    one number per batch and compares it with every rate, so that helpers with equal rates always
    vanish together. It also writes zeros into the raw input, which is then encoded, so that the
    encoder learns from rows of zeros, and BatchNorm counts them. ``mode="released"`` does that
    (whatever ``coupling`` and ``granularity`` say), in training and in prediction. The published F1
    scores exchange predictions and truth, so they cannot be compared with others.
    """

    name = "modality-dropout"
    summary = "drop modalities at random, often (AMD)"
    paper = "Magal, Tran, Arakawa, Nie: Negative to Positive Co-learning, 2025, arXiv 2501.00865"
    reads = ()

    def __init__(
        self,
        *,
        rates: Annotated[float | Mapping[str, float], Bounds(0, 1)] = 0.8,
        granularity: Literal["batch", "sample"] = "batch",
        coupling: Literal["independent", "shared"] = "independent",
        mode: Literal["paper", "released"] = "paper",
    ) -> None:
        super().__init__()
        self.rates = dict(rates) if isinstance(rates, Mapping) else rates
        self.granularity, self.coupling, self.mode = granularity, coupling, mode
        self.stacks = mode == "paper"  # else it encodes the inputs again

    def overrides(self, hook: str) -> bool:
        # The paper's form predicts as usual, so another method may predict in its own way.
        return super().overrides(hook) and (hook != "predict" or self.mode == "released")

    def check(self, model: MultimodalModel, task: Task) -> None:
        super().check(model, task)
        if self.mode == "released" and model.frozen:
            raise InputError(
                "modality-dropout with mode=released encodes zeros for what is dropped, and frozen "
                "encoders encode each sample once; use mode=paper, or freeze none"
            )
        for name in self.rates if isinstance(self.rates, dict) else ():
            if name not in model.modalities:
                raise unknown("modality in rates", name, model.modalities)

    def transform(self, batch: Batch, ctx: Context) -> Batch:
        names = batch.modalities
        rates = self.rates if isinstance(self.rates, dict) else dict.fromkeys(names, self.rates)
        p = torch.tensor([rates.get(m, 0.0) for m in names], dtype=torch.float64)[:, None]
        released = self.mode == "released"
        alone = self.granularity == "batch" or released
        index = torch.tensor([ctx.batch]) if alone else batch.index
        if self.coupling == "shared" or released:
            draws = ctx.uniform(index, "dropout").expand(len(names), -1)
        else:
            draws = torch.stack([ctx.uniform(index, f"dropout {k}") for k in range(len(names))])
        draws = draws.expand(-1, len(batch))
        if released:
            return _blank(batch, dict(zip(names, draws <= p, strict=True)))
        kept = keep(torch.stack(list(batch.present.values())), draws, p)
        return replace(batch, present=dict(zip(names, kept, strict=True)))

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        if self.mode == "released":
            batch = _blank(batch, {m: torch.zeros_like(p) for m, p in batch.present.items()})
        return super().predict(model, batch)


def keep(present: Tensor, draws: Tensor, rates: Tensor) -> Tensor:
    """Which modalities stay: those whose draw reaches the rate, and at least one per sample.

    Args:
        present: bool [M, B].
        draws: [M, B] in [0, 1).
        rates: [M, 1].

    Returns:
        bool [M, B], a part of ``present``, with the last modality of each sample left.
    """
    kept = present & (draws >= rates)
    nearest = (draws / rates.clamp(min=1e-12)).masked_fill(~present, -1.0).argmax(0)
    last = torch.zeros_like(present).index_put_(
        (nearest, torch.arange(present.shape[1])), torch.tensor(True)
    )
    return torch.where(kept.any(0), kept, present & last)


def _blank(batch: Batch, dropped: dict[str, Tensor]) -> Batch:
    """The batch with zeros for what is dropped or missing, all of it marked as present."""

    def blank(rows: Tensor, x: Tensor) -> Tensor:
        chosen = rows.to(x.device).view(-1, *[1] * (x.dim() - 1))
        return torch.where(chosen, torch.zeros_like(x), x)

    if lacking := [m for m in batch.present if m not in batch.inputs]:
        raise InputError(
            "modality-dropout with mode=released encodes zeros for what is missing, so inputs must "
            f"hold every modality, found none of {', '.join(lacking)}; pass zeros"
        )
    gone = {m: dropped[m] | ~mask for m, mask in batch.present.items()}
    inputs = {m: map_tensors(batch.inputs[m], partial(blank, rows)) for m, rows in gone.items()}
    present = {m: known(mask, True) for m, mask in batch.present.items()}
    return replace(batch, inputs=inputs, present=present, features=None)
