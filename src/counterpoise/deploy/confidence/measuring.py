"""Temperatures, thresholds and scores from what a model predicted for rows with a known truth."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.tasks import Classification, MultiLabel, Regression, Task
from counterpoise.errors import InputError, show
from counterpoise.evaluation.result import Evaluation

from .abstention import Steps
from .conformal import Scores
from .places import Cases
from .temperature import fit_temperature

Table = NDArray[np.float64]  # [P], the temperature of each place


def scale(task: Task, logits: Tensor, heat: Table) -> Tensor:
    """[N, K], temperatures [N] -> [N, K]: chances; of tasks without them, the logits."""
    if not isinstance(task, Classification | MultiLabel):
        return logits
    return task.chances(logits / torch.from_numpy(heat).to(logits)[:, None])


def fit_temperatures(task: Task, cases: Cases) -> dict[int, tuple[float, int]]:
    """Place -> its temperature and how many rows it had; empty for tasks without chances."""
    if not isinstance(task, Classification | MultiLabel):
        return {}
    found = {}
    for place in np.unique(cases.place[cases.place > 0]).tolist():
        here = cases.part(cases.place == place)
        truth = task.truth(here.target)
        heat = fit_temperature(here.logits, truth, isinstance(task, Classification))
        found[place] = heat, len(np.unique(here.row))
    return found


def measure_steps(task: Task, table: Table, calibrating: Cases, measured: Cases) -> Steps | None:
    """Thresholds from the calibrating cases, counted on the measured ones; of classes only."""
    if not isinstance(task, Classification):
        return None
    steps, sides = Steps.empty(len(table)), []
    for cases in (calibrating, measured):
        sure, guess = scale(task, cases.logits, table[cases.place]).max(1)
        sides.append((sure.float().numpy(), (guess == cases.target).numpy()))
    (before, _), (after, right) = sides
    for place in np.intersect1d(calibrating.place, measured.place).tolist():
        here = measured.place == place
        steps.count(place, before[calibrating.place == place], after[here], right[here])
    return steps


def measure_scores(task: Task, table: Table, measured: Cases) -> Scores | None:
    """How far the truth was from what was predicted; ``None`` for labels and others' tasks.

    Of classes, 1 less the chance of the true one; of a regression, each output's absolute error.
    """
    shape = len(table), task.outputs
    if isinstance(task, Classification):
        chances = scale(task, measured.logits, table[measured.place]).float()
        true = chances.gather(1, measured.target[:, None]).squeeze(1)
        cell = measured.place * shape[1] + measured.target.numpy()
        return Scores.of(cell, (1 - true).numpy(), shape)
    if isinstance(task, Regression):
        away = (measured.logits - measured.target.reshape(measured.logits.shape)).abs().float()
        cells = measured.place[:, None] * shape[1] + np.arange(shape[1])
        return Scores.of(cells.reshape(-1), away.numpy().reshape(-1), shape)
    return None


def check_alike(found: Evaluation, thresholds: Evaluation) -> None:
    """Raise :class:`InputError` unless both are of the same modalities and the same task."""
    if found.modalities != thresholds.modalities:
        raise InputError(
            "thresholds must be of the same modalities as what calibrates "
            f"({', '.join(found.modalities)}), found {', '.join(thresholds.modalities)}"
        )
    mine, other = found.task, thresholds.task
    if type(mine) is not type(other) or mine.outputs != other.outputs:
        raise InputError(
            f"thresholds must be of the same task as what calibrates ({show(mine.state())}), "
            f"found {show(other.state())}"
        )
