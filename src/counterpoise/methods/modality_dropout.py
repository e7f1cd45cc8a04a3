"""AMD: aggressive modality dropout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from counterpoise.batch import Batch, map_tensors
from counterpoise.context import Context
from counterpoise.errors import check_choice, check_number, unknown
from counterpoise.method import Method
from counterpoise.model import MultimodalModel
from counterpoise.tasks import Task


class ModalityDropout(Method):
    """Drop each modality at random while training (AMD), so that none is leant on.

    Args:
        rates: probability of dropping each modality: a number for all, or modality -> number
            (0 for those not named, which are then always kept).
        granularity: one draw for a whole ``"batch"`` (a dropped modality is then not encoded at
            all in that step), or for each ``"sample"``.
        coupling: ``"independent"`` draws, one per modality, or one ``"shared"`` draw that is
            compared with every rate: equal rates then drop together, unequal ones nest.
        mode: ``"paper"``: a dropped modality is absent, as one that is missing. ``"released"``:
            as the published code: one shared draw per batch (whatever ``coupling`` and
            ``granularity`` say), and a dropped or missing modality is an input of zeros that is
            still encoded, in training and prediction.

    The last modality of a sample is never dropped: where the draws would, the one that was
    closest to staying is kept. Evaluation drops nothing.
    """

    name = "modality-dropout"
    summary = "drop modalities at random, often (AMD)"
    paper = "Magal, Tran, Arakawa, Nie: Negative to Positive Co-learning, 2025, arXiv 2501.00865"

    def __init__(
        self,
        rates: float | Mapping[str, float] = 0.8,
        granularity: str = "batch",
        coupling: str = "independent",
        mode: str = "paper",
    ) -> None:
        super().__init__()
        check_choice("granularity", granularity, ("batch", "sample"))
        check_choice("coupling", coupling, ("independent", "shared"))
        check_choice("mode", mode, ("paper", "released"))
        for rate in rates.values() if isinstance(rates, Mapping) else (rates,):
            check_number("rates", rate, 0, 1)
        self.rates = dict(rates) if isinstance(rates, Mapping) else rates
        self.granularity, self.coupling, self.mode = granularity, coupling, mode

    def check(self, model: MultimodalModel, task: Task) -> None:
        super().check(model, task)
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
            return _blanked(batch, dict(zip(names, draws <= p, strict=True)))
        kept = keep(torch.stack(list(batch.present.values())), draws, p)
        return replace(batch, present=dict(zip(names, kept, strict=True)))

    def predict(self, model: MultimodalModel, batch: Batch) -> Tensor:
        if self.mode == "released":
            batch = _blanked(batch, {m: torch.zeros_like(p) for m, p in batch.present.items()})
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


def _blanked(batch: Batch, dropped: dict[str, Tensor]) -> Batch:
    """The batch with zeros for what is dropped or missing, all of it marked as present."""

    def blank(rows: Tensor, x: Tensor) -> Tensor:
        chosen = rows.to(x.device).view(-1, *[1] * (x.dim() - 1))
        return torch.where(chosen, torch.zeros_like(x), x)

    gone = {m: dropped[m] | ~mask for m, mask in batch.present.items()}
    inputs = {m: map_tensors(batch.inputs[m], partial(blank, rows)) for m, rows in gone.items()}
    present = {m: torch.ones_like(mask) for m, mask in batch.present.items()}
    return replace(batch, inputs=inputs, present=present, features=None)
