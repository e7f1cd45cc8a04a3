"""From samples to calibrated probabilities (or numbers), and the weight of each modality."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, map_tensors
from counterpoise.core.device import float32
from counterpoise.core.task import Task
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.engine.method import Method
from counterpoise.models.multimodal import MultimodalModel

from .confidence import Confidence
from .inputs.samples import Samples

TOGETHER = 256  # rows that are computed at once


@dataclass(frozen=True)
class Computed:
    """What a model gives for N samples, on the host.

    Attributes:
        logits: [N, K]; NaN where there is no answer.
        values: [N, K]: calibrated probabilities; of a regression numbers in the units of the
            target, float64.
        weights: [N, M].
        present: bool [N, M].
        problems: row -> why it has no answer, or none from all that was brought.
    """

    logits: Tensor
    values: Tensor
    weights: Tensor
    present: Tensor
    problems: dict[int, str]


def has_chances(task: Task) -> bool:
    """Whether a task predicts probabilities."""
    return isinstance(task, Classification | MultiLabel)


def compute(
    model: MultimodalModel, method: Method, confidence: Confidence, samples: Samples, weigh: bool
) -> Computed:
    """Encode each modality once, and answer from those that each sample has.

    Args:
        model: in evaluation mode; its ``task`` is what it learnt.
        method: whose ``predict`` makes the logits.
        confidence: makes probabilities of them.
        samples: N of them; those without any modality get no answer.
        weigh: find the weight of each modality.
    """
    task = confidence.task
    present = torch.stack([samples.present[m] for m in model.modalities], 1)
    rows = present.any(1).nonzero().squeeze(1)
    logits = torch.full((len(samples), task.outputs), torch.nan)
    weights = torch.zeros(present.shape)
    with torch.no_grad(), float32():
        for batch in batches(model, samples, rows):
            known = replace(batch, features=model.encode(batch))
            found = method.predict(model, known).float().cpu()
            logits[batch.index] = found
            if weigh:
                weights[batch.index] = _weigh(model, method, confidence, known, found)
    problems, gone = dict(samples.problems), rows[~logits[rows].isfinite().all(1)]
    logits[gone] = torch.nan
    for row in gone.tolist():
        problems[row] = "gives no finite prediction; its values are extreme"
    if has_chances(task):
        values = confidence.chances(logits, present)
    else:
        values = task.decode(logits.double())
    return Computed(logits, values, weights, present, problems)


def batches(model: MultimodalModel, samples: Samples, rows: Tensor) -> Iterator[Batch]:
    """The samples at ``rows``, some at a time, on the model's device."""
    for part in torch.split(rows, TOGETHER):
        take = partial(torch.index_select, dim=0, index=part)
        inputs = {m: map_tensors(samples.inputs[m], take) for m in model.modalities}
        masks = {m: samples.present[m][part] for m in model.modalities}
        yield Batch(inputs, masks, torch.zeros(len(part)), part).to(model.device)


def _weigh(
    model: MultimodalModel, method: Method, confidence: Confidence, known: Batch, logits: Tensor
) -> Tensor:
    """[B, M]: how far the answer moves without each modality, as a share of all moves.

    Moves are of probabilities, summed over the classes; of a regression in standard deviations of
    its target.
    """

    def values(logits: Tensor, here: Tensor) -> Tensor:
        return confidence.chances(logits, here) if has_chances(confidence.task) else logits

    names = model.modalities
    here = torch.stack([known.present[m] for m in names], 1)
    several, whole = here.sum(1) > 1, values(logits, here)
    moves = here.float()
    for k, name in enumerate(names):
        asked = here[:, k] & several
        if not bool(asked.any()):
            continue
        without = here.clone()
        without[:, k] = False
        rest = method.predict(model, known.only(*(m for m in names if m != name)))
        moved = (whole - values(rest.float().cpu(), without)).abs().sum(1)
        moves[:, k] = torch.where(asked, moved, moves[:, k])
    # Where nothing moves, all modalities say the same.
    moves = torch.where(moves.sum(1, keepdim=True) > 0, moves, here.float())
    return moves / moves.sum(1, keepdim=True)
