"""What each modality adds to the primary metric: Shapley values, exact or sampled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from counterpoise.core.coalitions import Coalitions
from counterpoise.core.task import Task
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.data.dataset import Dataset
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_number
from counterpoise.models.multimodal import MultimodalModel

from .answers import Answers
from .evaluator import evaluate
from .result import format_value
from .subsets import Subset

MOST_EXACT = 10  # modalities, of which all 1,023 subsets are asked


@dataclass(frozen=True)
class Contribution:
    """What one modality adds to the primary metric, averaged over all orders of joining.

    Attributes:
        modality: which.
        value: in units of the metric; those of all modalities sum to what the model gains over
            knowing nothing.
        error: the standard error of the sample of orders; 0 where all were taken.
    """

    modality: str
    value: float
    error: float

    def __str__(self) -> str:
        error = f" ± {format_value(self.error)}" if self.error else ""
        return f"{self.modality}: {format_value(self.value, '+')}{error}"


def contributions(
    model: MultimodalModel,
    data: Dataset,
    method: str | Method = "joint",
    *,
    split: str = "test",
    task: Task | None = None,
    orders: int = 64,
    seed: int = 0,
) -> list[Contribution]:
    """The Shapley value of each modality in the primary metric (Shapley 1953).

    The value of a subset is the metric with only its modalities; that of none is the metric of a
    constant: how frequent each class is in training, or the mean target there. It is also what
    counts for samples that have none of a subset. Exact for up to ten modalities; of more, from
    orders of joining that are drawn in pairs, each with its reverse.

    Args:
        model, data, method, split, task: of :func:`evaluate`.
        orders: an even number of them, at least 4, for more than ten modalities.
        seed: of the orders.

    Raises:
        InputError: an odd number of orders.
    """
    orders = check_number("orders", orders, 4, 2**16, whole=True)
    if orders % 2:
        raise InputError(f"orders must be even, since each comes with its reverse, found {orders}")
    names = data.modalities
    generator = torch.Generator().manual_seed(check_number("seed", seed, 0, whole=True))
    coalitions = Coalitions.choose(len(names), MOST_EXACT, generator, orders)
    wanted = [
        tuple(name for name, inside in zip(names, flags, strict=True) if inside)
        for flags in coalitions.subsets.tolist()
    ]
    found = evaluate(
        model, data, method, split=split, task=task, metrics=[], subsets=[s for s in wanted if s]
    )
    assert isinstance(found.logits, Answers)
    nothing = _guess(found.task, data.train.target.cpu())
    values = torch.tensor(
        [_value(found.task, found.logits, s, nothing, found.target) for s in wanted],
        dtype=torch.float64,
    )
    both = zip(coalitions.shapley(values), coalitions.errors(values), strict=True)
    return [
        Contribution(name, float(value), float(error))
        for name, (value, error) in zip(names, both, strict=True)
    ]


def _value(task: Task, answers: Answers, subset: Subset, nothing: Tensor, target: Tensor) -> float:
    """The primary metric with one subset; samples that have none of it get ``nothing`` [K]."""
    logits = nothing.expand(len(target), -1)
    if subset:
        has = answers.has([subset])[0][:, None]
        logits = torch.where(has, answers.stack([subset])[0], logits)
    return task.metrics(logits, target, "primary")[task.primary]


def _guess(task: Task, target: Tensor) -> Tensor:
    """[K]: the constant that fits the training targets best."""
    if not isinstance(task, Classification | MultiLabel):
        return target.reshape(len(target), -1).float().nanmean(0)
    rate = task.truth(target).float().mean(0)
    return rate.clamp(min=1e-6).log() if isinstance(task, Classification) else rate.logit(1e-6)
