"""Metrics for every subset of the modalities, with each sample encoded once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from counterpoise.core.loader import Loader
from counterpoise.core.tasks import Task
from counterpoise.data.dataset import ArrayData
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_choice, unknown
from counterpoise.methods.registry import build_method
from counterpoise.models.multimodal import MultimodalModel

Subset = tuple[str, ...]


def present_name(names: Iterable[str]) -> str:
    """The sorted modalities joined by ``+``, as records write them."""
    return "+".join(sorted(names))


def subsets(names: Iterable[str]) -> list[Subset]:
    """All 2^M - 1 non-empty subsets, the whole first, then smaller ones."""
    names = tuple(names)
    return [s for size in range(len(names), 0, -1) for s in combinations(names, size)]


@dataclass(frozen=True)
class Evaluation:
    """What a model predicts on a split with each subset of its modalities.

    Attributes:
        task: what was predicted.
        split: which split.
        logits: subset -> [N_s, K], for the samples that have at least one of its modalities.
        target: [N, ...], of the whole split.
        rows: subset -> int64 [N_s], which samples these are.
        metrics: subset -> metric -> value.
    """

    task: Task
    split: str
    logits: dict[Subset, Tensor]
    target: Tensor
    rows: dict[Subset, Tensor]
    metrics: dict[Subset, dict[str, float]]

    @property
    def modalities(self) -> Subset:
        return max(self.logits, key=len)

    def outcome(self, *names: str) -> Tensor:
        """[N] with only ``names`` present: correct or not (or the error); NaN where none is."""
        subset = tuple(m for m in self.modalities if m in names)
        if len(subset) != len(names):
            raise InputError(f"names must be modalities of {list(self.modalities)}, found {names}")
        values = torch.full((len(self.target),), torch.nan)
        rows = self.rows[subset]
        values[rows] = self.task.outcome(self.logits[subset], self.target[rows])
        return values

    def __str__(self) -> str:
        metrics = list(self.metrics[self.modalities])
        width = max(len(present_name(s)) for s in self.metrics)
        lines = [" " * width + "".join(f"{m:>12}" for m in metrics)]
        for subset, values in self.metrics.items():
            numbers = "".join(f"{values[m]:>12.4f}" for m in metrics)
            lines.append(f"{present_name(subset):<{width}}{numbers}")
        return "\n".join(lines)


def evaluate(
    model: MultimodalModel,
    data: ArrayData,
    method: str | Method = "joint",
    *,
    split: str = "test",
    batch_size: int = 256,
) -> Evaluation:
    """Metrics of ``model`` for all 2^M - 1 subsets of its modalities.

    Each modality is encoded once; only fusion and head run for each subset. A sample counts for
    every subset of which it has at least one modality.

    Args:
        model: any weights; its training mode is left as it was.
        data: its ``split`` is read; it may lack modalities of the model.
        method: how predictions are made from a model (``method.predict``).
        split: ``"train"``, ``"validation"`` or ``"test"``.
        batch_size: samples at a time; predictions do not depend on it.
    """
    check_choice("split", split, data.splits)
    method = build_method(method)
    for name in data.modalities:
        if name not in model.modalities:
            raise unknown("modality of the model", name, model.modalities)
    samples = data.splits[split]
    logits: dict[Subset, list[Tensor]] = {s: [] for s in subsets(data.modalities)}
    rows: dict[Subset, list[Tensor]] = {s: [] for s in logits}
    training = model.training, method.training
    model.eval()
    method.eval()
    with torch.no_grad():
        for batch in Loader(samples, batch_size, device=model.device).whole():
            known = replace(batch.among(model.modalities), features=model.encode(batch))
            for subset in logits:
                some = known.only(*subset)
                has = some.counts() > 0
                found = method.predict(model, some).cpu()
                logits[subset].append(found[has])
                rows[subset].append(batch.index[has])
    model.train(training[0])
    method.train(training[1])
    joined = {s: torch.cat(parts) for s, parts in logits.items()}
    where = {s: torch.cat(parts) for s, parts in rows.items()}
    target = samples.target.cpu()
    metrics = {s: data.task.metrics(joined[s], target[where[s]]) for s in joined if len(where[s])}
    return Evaluation(data.task, split, joined, target, where, metrics)
