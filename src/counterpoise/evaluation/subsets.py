"""Metrics for every subset of the modalities, with each sample encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np
import torch
from torch import Tensor

from counterpoise.core import ranks
from counterpoise.core.batch import Batch
from counterpoise.core.device import float32
from counterpoise.core.loader import Loader
from counterpoise.core.task import Task, Which
from counterpoise.data.dataset import Dataset
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_choice, check_number, show, unknown
from counterpoise.methods.registry import build_method
from counterpoise.models.multimodal import MultimodalModel

Subset = tuple[str, ...]
EACH = 6  # up to so many modalities, each subset is looked at by itself


def present_name(names: Iterable[str]) -> str:
    """The sorted modalities joined by ``+``, as records write them."""
    return "+".join(sorted(names))


def subsets(names: Iterable[str]) -> list[Subset]:
    """All 2^M - 1 non-empty subsets, the whole first, then smaller ones."""
    names = tuple(names)
    return [s for size in range(len(names), 0, -1) for s in combinations(names, size)]


def choose_subsets(names: Iterable[str], most: int = 16, seed: int = 0) -> list[Subset]:
    """All subsets of up to ``EACH`` modalities; of more, some of every size, drawn by chance.

    Args:
        names: the modalities. The whole and each modality alone are always among the chosen.
        most: how many of each other size.
        seed: two calls with the same arguments agree.

    Returns:
        Larger subsets first, the modalities of each in the order of ``names``.
    """
    names, most = tuple(names), check_number("most", most, 1, whole=True)
    seed = check_number("seed", seed, 0, whole=True)
    if len(names) <= EACH:
        return subsets(names)
    generator, chosen = np.random.default_rng(seed), [names]
    for size in range(len(names) - 1, 1, -1):
        wanted = min(most, comb(len(names), size))
        drawn: set[tuple[int, ...]] = set()
        while len(drawn) < wanted:
            drawn.add(tuple(sorted(generator.permutation(len(names))[:size].tolist())))
        chosen += [tuple(names[i] for i in places) for places in sorted(drawn)]
    return chosen + [(name,) for name in names]


def _check_subsets(
    given: Iterable[Iterable[str]] | None, names: Subset, known: Iterable[str]
) -> list[Subset]:
    """What to evaluate: everything, or these, the whole and the single modalities.

    Args:
        given: what was asked for.
        names: the modalities of the data.
        known: those of the model.
    """
    for name in names:
        if name not in known:
            raise unknown("modality of the model", name, known)
    if given is None:
        return subsets(names)
    if not isinstance(given, Iterable):
        raise InputError(f"subsets must be a list of lists of modalities, found {show(given)}")
    chosen = {names, *((name,) for name in names)}
    for subset in given:
        members = (subset,) if isinstance(subset, str) else tuple(subset)
        for name in members:
            if name not in names:
                raise unknown("modality in subsets", name, names)
        chosen.add(tuple(name for name in names if name in members))
    if () in chosen:
        raise InputError("subsets must each name a modality, found an empty one; leave it out")
    order = {name: place for place, name in enumerate(names)}
    return sorted(chosen, key=lambda subset: (-len(subset), [order[name] for name in subset]))


@dataclass(frozen=True)
class Evaluation:
    """What a model predicts on a split with each subset of its modalities.

    Attributes:
        task: what was predicted.
        split: which split.
        logits: subset -> [N_s, K], for the samples that have at least one of its modalities; of a
            regression in the units of the target.
        target: [N, ...], of the whole split.
        rows: subset -> int64 [N_s], which samples these are.
        metrics: subset -> metric -> value, the primary one first; NaN where it is not defined.
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
        """[N] with only ``names`` present: each sample's share in the primary metric.

        Correct or not, or the error; NaN for samples that have none of them.

        Raises:
            InputError: unknown modalities, or a metric that is no mean over samples.
        """
        subset = self._subset(names)
        rows, metric = self.rows[subset], self.task.metric
        shares = metric.share(self.task, self.logits[subset], self.target[rows])
        if shares is None:
            raise InputError(
                f"the metric {metric.name} is no mean over samples, so no sample has an outcome"
            )
        values = torch.full((len(self.target),), torch.nan)
        values[rows] = shares.to(values)
        return values

    def whole(self, *names: str) -> Tensor:
        """[N, K], the logits with only ``names`` present; NaN for samples that have none."""
        subset = self._subset(names)
        logits = torch.full((len(self.target), self.task.outputs), torch.nan)
        logits[self.rows[subset]] = self.logits[subset].to(logits)
        return logits

    def _subset(self, names: tuple[str, ...]) -> Subset:
        subset = tuple(m for m in self.modalities if m in names)
        if len(subset) != len(names):
            raise InputError(f"names must be modalities of {list(self.modalities)}, found {names}")
        return subset

    def __str__(self) -> str:
        names = list(next(iter(self.metrics.values()), ()))
        titles = [column_title(name).split("\n") for name in names]
        depth = max(map(len, titles), default=1)
        titles = [[""] * (depth - len(title)) + title for title in titles]
        table = [["", *line] for line in zip(*titles, strict=True)]
        for subset, values in self.metrics.items():
            table.append([present_name(subset), *(format_value(values[name]) for name in names)])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])])
            for first, *rest in table
        )


def _find_scale(task: Task) -> Task:
    """The task, if it knows what predictions mean."""
    if not task.fitted:
        raise InputError(
            "the model does not know the scale of its regression; pass task=run.task, or "
            "task=Regression(mean=0, scale=1) where it learnt the target as it is"
        )
    return task


def format_value(value: float, sign: str = "", like: float | None = None) -> str:
    """A metric with four decimals, or four digits where these would be too few or too many.

    Args:
        value: the metric.
        sign: ``"+"`` shows it of positive ones, too.
        like: by whose size it is decided; by default the value's.
    """
    size = abs(value if like is None else like)
    form = ".3e" if 0 < size < 1e-3 or 1e7 <= size < float("inf") else ".4f"
    text = format(value, sign + form)
    return text if float(text) else text.replace("-", "+" if sign else "", 1)  # no -0.0000


def column_title(metric: str) -> str:
    """The name of a metric for the head of a column, in two lines if it is long."""
    start, dash, end = metric.rpartition("-")
    return f"{start}-\n{end}" if dash and len(metric) > 10 else metric


def evaluate(
    model: MultimodalModel,
    data: Dataset,
    method: str | Method = "joint",
    *,
    split: str = "test",
    batch_size: int = 256,
    task: Task | None = None,
    metrics: Which = None,
    subsets: Iterable[Iterable[str]] | None = None,
) -> Evaluation:
    """Metrics of ``model`` for all 2^M - 1 subsets of its modalities, or for some of them.

    Each modality is encoded once; only fusion and head run for each subset. A sample counts for
    every subset of which it has at least one modality.

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
        subsets: all by default; or some, such as :func:`choose_subsets` finds. The whole and each
            modality alone are always evaluated.

    Raises:
        InputError: an unknown split, a modality that the model or the data do not have, a metric
            that the task does not have.
    """
    check_choice("split", split, data.splits)
    method, task = build_method(method), task or data.task
    chosen = task.find_metrics(metrics)
    wanted = _check_subsets(subsets, data.modalities, model.modalities)
    samples = data.splits[split]
    loader = Loader(samples, batch_size, device=model.device)
    decode = _find_scale(model.task or task).decode
    training = model.training, method.training
    model.eval()
    method.eval()
    # Each rank has a part of the split, one after the other, so that they join in its order.
    own = torch.tensor_split(torch.arange(len(samples)), ranks.world())[ranks.rank()]
    found = {s: (torch.empty(0, task.outputs), own[:0]) for s in wanted}
    if len(own):
        with float32(), torch.no_grad():
            found = _predict(model, method, loader.read(own), wanted, decode)
    if model.units:
        _keep_up(model, loader, len(own))
    model.train(training[0])
    method.train(training[1])
    joined, where = _join(ranks.collect(found))
    target = samples.target.cpu()
    values = {s: task.metrics(joined[s], target[where[s]], chosen) for s in joined if len(where[s])}
    return Evaluation(task, split, joined, target, where, values)


def _keep_up(model: MultimodalModel, loader: Loader, rows: int) -> None:
    """Run encoders that are split over the ranks as often as the rank with the most batches."""
    most, size = -(-len(loader.samples) // ranks.world()), loader.batch_size
    with float32(), torch.no_grad():
        for _ in range(-(-most // size) - -(-rows // size)):
            model.encode(loader.take(torch.arange(0)))


def _predict(
    model: MultimodalModel,
    method: Method,
    batches: Iterable[Batch],
    wanted: Iterable[Subset],
    decode: Callable[[Tensor], Tensor],
) -> dict[Subset, tuple[Tensor, Tensor]]:
    """Subset -> logits [N_s, K] and rows int64 [N_s] of the samples that have any part of it."""
    logits: dict[Subset, list[Tensor]] = {s: [] for s in wanted}
    rows: dict[Subset, list[Tensor]] = {s: [] for s in logits}
    for batch in batches:
        known = replace(batch.among(model.modalities), features=model.encode(batch))
        for subset in logits:
            some = known.only(*subset)
            has = some.counts() > 0
            found = decode(method.predict(model, some)).cpu()
            logits[subset].append(found[has])
            rows[subset].append(batch.index[has])
    return {s: (torch.cat(logits[s]), torch.cat(rows[s])) for s in logits}


def _join(
    parts: Sequence[dict[Subset, tuple[Tensor, Tensor]]],
) -> tuple[dict[Subset, Tensor], dict[Subset, Tensor]]:
    """Logits and rows of each subset, from those of each rank; some may have none."""
    logits, rows = {}, {}
    for subset in parts[0]:
        some = [part[subset] for part in parts if len(part[subset][1])] or [parts[0][subset]]
        logits[subset] = torch.cat([found for found, _ in some])
        rows[subset] = torch.cat([where for _, where in some])
    return logits, rows
