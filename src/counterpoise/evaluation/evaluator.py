"""Metrics for every subset of the modalities, with each sample encoded once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from counterpoise.core import ranks
from counterpoise.core.device import float32
from counterpoise.core.loader import Loader
from counterpoise.core.metric import Metric
from counterpoise.core.task import Task, Which
from counterpoise.data.dataset import Dataset
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_choice, unknown
from counterpoise.methods.registry import build_method
from counterpoise.models.multimodal import MultimodalModel

from .answers import Answers, ask
from .result import Evaluation
from .subsets import EACH, Subset, Subsets, find_subsets, is_basic

MEASURED = 2**16  # predictions that are measured at a time: they stay in the cache


def _find_scale(task: Task) -> Task:
    """The task, if it knows what predictions mean."""
    if not task.fitted:
        raise InputError(
            "the model does not know the scale of its regression; pass task=run.task, or "
            "task=Regression(mean=0, scale=1) where it learnt the target as it is"
        )
    return task


def evaluate(
    model: MultimodalModel,
    data: Dataset,
    method: str | Method = "joint",
    *,
    split: str = "test",
    batch_size: int = 256,
    task: Task | None = None,
    metrics: Which = None,
    subsets: Subsets = None,
) -> Evaluation:
    """Metrics of ``model`` for all 2^M - 1 subsets of its modalities, or for some of them.

    Each modality is encoded once. Where the logits are sums or means of what each modality says,
    weighted or not, all subsets are one multiplication of matrices; other fusions run for each. A
    sample counts for every subset of which it has at least one modality.

    Of several ranks, each predicts a part of the split, and all have the whole result: every rank
    must call it.

    Args:
        model: any weights; its training mode is left as it was.
        data: its ``split`` is read; it may lack modalities of the model.
        method: how predictions are made from a model (``method.predict``).
        split: ``"train"``, ``"validation"`` or ``"test"``.
        batch_size: samples at a time; predictions do not depend on it.
        task: that of the data by default; one with another primary metric, for instance. What
            ``model`` predicts is decoded by the task that it was trained with, if it has one.
        metrics: which: ``None`` for all that the task lists, the primary one first;
            ``"primary"``; a name, or several.
        subsets: ``"all"``; ``"few"``: all together, each left out, each alone, and 64 more, always
            the same; or a list of lists. By default all of up to six modalities, few of more. The
            whole and each alone are always evaluated. Of more than six modalities, all metrics are
            computed for the whole, each left out, each alone and listed ones; for the others the
            primary one, and the NLL where the task has one.

    Raises:
        InputError: an unknown split, a modality that the model or the data do not have, a metric
            that the task does not have.
    """
    check_choice("split", split, data.splits)
    method, task = build_method(method), task or data.task
    chosen = task.find_metrics(metrics)
    for name in data.modalities:
        if name not in model.modalities:
            raise unknown("modality of the model", name, model.modalities)
    wanted = find_subsets(subsets, data.modalities)
    samples = data.splits[split]
    loader = Loader(samples, batch_size, device=model.device)
    decode = _find_scale(model.task or task).decode
    answers = _ask_all(model, method, loader, wanted, data.modalities, decode)
    target = samples.target.cpu()
    every = len(data.modalities) <= EACH or not (subsets is None or isinstance(subsets, str))
    values = _measure(task, answers, target, chosen, every)
    return Evaluation(task, split, answers, target, answers.rows(), values)


def _ask_all(
    model: MultimodalModel,
    method: Method,
    loader: Loader,
    wanted: Sequence[Subset],
    names: Subset,
    decode: Callable[[Tensor], Tensor],
) -> Answers:
    """What is predicted for a split; model and method are left in their mode."""
    training = model.training, method.training
    model.eval()
    method.eval()
    # Each rank has a part of the split, one after the other, so that they join in its order.
    rows = torch.arange(len(loader.samples))
    own = torch.tensor_split(rows, ranks.world())[ranks.rank()]
    found: list[Answers] = []
    with float32(), torch.no_grad():
        if len(own):
            batches = loader.read(own)
            found += [ask(model, method, batch, wanted, names, decode) for batch in batches]
        if model.units:
            _keep_up(model, loader, len(own))
    model.train(training[0])
    method.train(training[1])
    parts = [part for some in ranks.collect(found) for part in some]
    return Answers.join(parts or [Answers.empty(names, wanted, model.fusion.outputs, decode)])


def _keep_up(model: MultimodalModel, loader: Loader, rows: int) -> None:
    """Run encoders that are split over the ranks as often as the rank with the most batches."""
    most, size = -(-len(loader.samples) // ranks.world()), loader.batch_size
    for _ in range(-(-most // size) - -(-rows // size)):
        model.encode(loader.take(torch.arange(0)))


def _measure(
    task: Task, answers: Answers, target: Tensor, metrics: Sequence[Metric], every: bool
) -> dict[Subset, dict[str, float]]:
    """Subset -> metric -> value: all metrics of ``every`` subset, or of basic ones alone."""
    if not metrics:
        return {}
    count, rows = len(answers.names), answers.rows()
    many = [s for s in answers if not every and not is_basic(s, count)]
    few = [m for m in metrics if m.name in (task.primary, "nll")]
    shared = {m.name: m for m in few if m.has_shares}
    found = _measure_many(task, answers, many, target, list(shared.values())) if many else {}
    for subset in answers:
        missing = [m for m in few if m.name not in shared] if subset in found else metrics
        where = rows[subset]
        if missing and len(where):
            value = task.metrics(answers[subset], target[where], missing)
            found[subset] = found.get(subset, {}) | value
    order = [metric.name for metric in metrics]
    return {
        s: {name: found[s][name] for name in order if name in found[s]}
        for s in answers
        if s in found
    }


def _measure_many(
    task: Task,
    answers: Answers,
    many: Sequence[Subset],
    target: Tensor,
    metrics: Sequence[Metric],
) -> dict[Subset, dict[str, float]]:
    """Metrics that are means over samples, of many subsets at a time."""
    found: dict[Subset, dict[str, float]] = {}
    at_once = max(1, MEASURED // max(1, len(target)))
    for start in range(0, len(many), at_once):
        part = many[start : start + at_once]
        logits, has = answers.stack(part).transpose(1, 2), answers.has(part)
        counts, gone = has.sum(1), logits.amax((1, 2)).isnan()
        means = []
        for metric in metrics:
            shares = metric.shares(task, logits, target)
            assert shares is not None, f"{metric.name} has shares"
            kept = torch.where(has, shares, 0.0).sum(1, dtype=torch.float64)
            means.append((kept / counts).masked_fill(gone, torch.nan))
        table = torch.stack(means).T.tolist() if means else [[]] * len(part)
        for subset, values, number in zip(part, table, counts.tolist(), strict=True):
            if number:
                found[subset] = dict(zip([m.name for m in metrics], values, strict=True))
    return found
