"""One trial: trained where it is carried out, stopped early or not, on no test data."""

from __future__ import annotations

import copy
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from counterpoise.compare.compare import Comparison, deal_recipe
from counterpoise.compare.recipe import Recipe
from counterpoise.core.executors import Tell
from counterpoise.core.lock import hold
from counterpoise.data.dataset import Dataset
from counterpoise.engine.callback import Callback
from counterpoise.errors import InputError, NotFiniteError
from counterpoise.methods.registry import build_method
from counterpoise.training.folder import CHECKPOINT, open_checkpoint
from counterpoise.training.record import RunRecord
from counterpoise.training.task import prepare_task

from .point import Point, split_point
from .stopping import Bar

PATIENCE = 60.0  # seconds in which the process that was killed leaves the folder of a trial
COMPLETE, STOPPED, FAILED = "complete", "stopped", "failed"


@dataclass(frozen=True)
class Job:
    """A trial to train, or to go on with.

    Attributes:
        label: of the method that is searched for.
        number: of the trial in this search.
        point: its values.
        bar: what it has to reach.
    """

    label: str
    number: int
    point: Point
    bar: Bar


@dataclass(frozen=True)
class Outcome:
    """What came of a trial.

    Attributes:
        state: ``"complete"``, ``"stopped"`` (early) or ``"failed"``.
        curve: validation after each epoch.
        seconds: that its epochs took, also before it was stopped and resumed.
        reason: why it failed.
    """

    state: str
    curve: list[float | None] = field(default_factory=list)
    seconds: float = 0.0
    reason: str = ""


class _Enough(Exception):
    """Ends a trial that does not reach the bar."""


class _Follower(Callback):
    """Keeps the values on validation, and ends the trial that is below the bar."""

    def __init__(self, metric: str, present: str, bar: Bar, tick: Any) -> None:
        self.metric, self.present, self.bar, self.tick = metric, present, bar, tick
        self.curve: list[float | None] = []
        self.seconds = 0.0

    def on_epoch(self, entry: dict[str, Any]) -> None:
        value = entry["validation"][self.present][self.metric]
        self.curve.append(None if value is None or value != value else float(value))
        self.seconds += entry["seconds"]
        self.tick()
        if self.bar.stops(self.curve):
            raise _Enough


@dataclass(frozen=True)
class Plan:
    """What all trials share.

    Attributes:
        recipe: all but what a space changes.
        data: without the test split (:func:`without_test`).
        out: the folder of the searches.
    """

    recipe: Recipe
    data: Dataset
    out: Path

    def path(self, label: str, number: int) -> Path:
        """Where a trial keeps its checkpoint until it is done."""
        return self.out / "trials" / re.sub(r"[^\w.=-]+", "_", label) / f"{number:04d}"

    def train(self, job: Job, tell: Tell) -> Outcome:
        """Train one trial, or go on with it from its checkpoint."""
        try:
            changes, label = split_point(job.point, self.recipe, job.label)
            recipe = deal_recipe(self.recipe.change(changes))
            Comparison(recipe, self.data, self.out).check([label])
        except InputError as error:  # values that do not go together
            return Outcome(FAILED, reason=str(error))
        metric = prepare_task(self.data, recipe.settings).primary
        present = recipe.settings.best_subset(self.data.modalities)
        follower = _Follower(metric, present, job.bar, lambda: tell((job.label, job.number)))
        folder = self.path(job.label, job.number)
        _wait_until_free(folder)
        state, reason = COMPLETE, ""
        try:
            for entry in read_history(folder):
                follower.on_epoch(entry)
            seed, others = recipe.settings.seed, {"out": folder, "resume": True}
            recipe.train(self.data, build_method(label), seed, callbacks=[follower], **others)
        except _Enough:
            state = STOPPED
        except NotFiniteError as error:
            state, reason = FAILED, str(error)
        else:
            if follower.curve[-1] is None:
                state, reason = FAILED, f"{metric} is not defined on the validation split"
        return Outcome(state, follower.curve, follower.seconds, reason)


def carry_out(plan: Plan, job: Job, tell: Tell) -> Outcome:
    """One trial, wherever that is; tells of its epochs."""
    return plan.train(job, tell)


def without_test(data: Dataset) -> Dataset:
    """The data set without its test split, which is so out of reach; it counts as the same."""
    blind = copy.copy(data)
    blind._digest = data.fingerprint()
    blind.splits = {part: split for part, split in data.splits.items() if part != "test"}
    return blind


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The epochs that the run of a folder has; none where it has not begun."""
    if not (folder / CHECKPOINT).exists():
        return []
    history: list[dict[str, Any]] = open_checkpoint(RunRecord.read(folder))["history"]
    return history


def _wait_until_free(folder: Path) -> None:
    """Wait for a process whose command was killed, and which ends a moment later."""
    end = time.monotonic() + PATIENCE
    while not _is_free(folder) and time.monotonic() < end:
        time.sleep(0.1)


def _is_free(folder: Path) -> bool:
    try:
        with hold(folder, "trial"):
            return True
    except InputError:  # also where it is no folder, which the run will say
        return False
