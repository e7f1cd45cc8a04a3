"""Evaluations without a model: logits are drawn, and it is known how wrong they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from counterpoise import Classification, Evaluation, MultiLabel, Regression, Task
from counterpoise.evaluation import subsets


def make_evaluation(
    task: Task, logits: dict[tuple[str, ...], Tensor], target: Tensor, present: Tensor | None = None
) -> Evaluation:
    """Of logits [N, K] of every row; rows count where they have one of the subset's modalities."""
    names = max(logits, key=len)
    if present is None:
        present = torch.ones(len(target), len(names), dtype=torch.bool)
    rows = {s: present[:, [names.index(m) for m in s]].any(1).nonzero().squeeze(1) for s in logits}
    found = {s: values[rows[s]] for s, values in logits.items()}
    return Evaluation(task, "validation", found, target, rows, {s: {} for s in logits})


def toy(
    rows: int,
    seed: int,
    *,
    classes: int = 3,
    names: Sequence[str] = ("a", "b"),
    factor: float = 1.0,
    distance: float = 1.5,
    shares: Sequence[float] | None = None,
    present: Tensor | None = None,
) -> Evaluation:
    """Exact log-probabilities of the classes of normal samples, multiplied by ``factor``.

    Modality ``m`` of class ``k`` is drawn from a normal distribution around ``distance`` times the
    k-th unit vector, so that ``distance * x[k]`` is the log-likelihood of the class but for a
    constant; those of several modalities add up.

    Args:
        factor: above 1, chances are too sure, and the right temperature is this factor.
        distance: between the means of the classes, over the square root of two.
        shares: of the classes; by default each has as many rows.
    """
    generator = np.random.default_rng(seed)
    if shares is None:
        target = generator.permutation(np.arange(rows) % classes)
    else:
        target = generator.choice(classes, rows, p=shares)
    noise = generator.normal(size=(len(names), rows, classes))
    x = torch.from_numpy(distance**2 * np.eye(classes)[target] + distance * noise).float()
    logits = {s: factor * sum(x[names.index(m)] for m in s) for s in subsets(names)}
    if shares is not None:
        logits = {s: z + factor * torch.tensor(shares).log() for s, z in logits.items()}
    return make_evaluation(Classification(classes), logits, torch.from_numpy(target), present)


def toy_numbers(rows: int, seed: int, outputs: int = 2) -> Evaluation:
    """A regression whose errors are normal, twice as wide with ``b`` alone."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(rows, outputs, generator=generator)
    width = {("a", "b"): 1.0, ("a",): 1.0, ("b",): 2.0}
    logits = {
        s: target + w * torch.randn(rows, outputs, generator=generator) for s, w in width.items()
    }
    return make_evaluation(Regression(outputs, mean=0, scale=1), logits, target)


def toy_labels(rows: int, seed: int, factor: float = 1.0) -> Evaluation:
    """Four labels, each true with the probability that its logit says, times ``factor``."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, 4, generator=generator)
    target = (torch.rand(rows, 4, generator=generator) < logits.sigmoid()).float()
    return make_evaluation(MultiLabel(4), {("a",): factor * logits}, target)


def mask(names: Sequence[str], of: Sequence[str], rows: int) -> Tensor:
    """bool [rows, M]: these modalities, of those."""
    return torch.tensor([[m in names for m in of]]).expand(rows, -1)
