"""What a comparison keeps of one of its runs: lines of records, and of each sample's outcome."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoise.data.dataset import Dataset
from counterpoise.engine.callback import Callback
from counterpoise.evaluation.result import Evaluation
from counterpoise.evaluation.subsets import (
    EACH,
    Subsets,
    find_subsets,
    is_basic,
    present_name,
)
from counterpoise.training.run import Run

Tick = Callable[[str, int], None]


def run_path(out: Path, label: str, seed: int) -> Path:
    """Where a comparison keeps one of its runs."""
    return out / "runs" / re.sub(r"[^\w.=-]+", "_", label) / f"seed-{seed}"


class Watch:
    """Told how far a comparison is; override what you need.

    Attributes:
        command: what the report says that the comparison was made by.
    """

    command: str | None = None

    def on_epoch(self, label: str, seed: int) -> None:
        """Runs after each epoch of a run."""

    def on_line(self, text: str) -> None:
        """Called with a line to keep, such as what features of frozen encoders take on disk."""

    def on_run(self, outcome: Lines | str) -> None:
        """Runs after each run, with its lines, or with why it stopped."""


class EpochTicks(Callback):
    """Calls ``tick`` with a run's label and seed after each of its epochs."""

    def __init__(self, label: str, seed: int, tick: Tick) -> None:
        self.label, self.seed, self.tick = label, seed, tick

    def on_epoch(self, entry: dict[str, Any]) -> None:
        self.tick(self.label, self.seed)


@dataclass(frozen=True)
class Lines:
    """The lines of one run (:mod:`counterpoise.report.records`).

    Attributes:
        records: for ``records.jsonl``; the last of them says that the run is done.
        samples: for ``samples.jsonl``.
    """

    records: list[dict[str, Any]]
    samples: list[dict[str, Any]]

    def describe(self) -> str:
        """The run in one line: how many epochs, how long, how good on test after the last."""
        tested = next(line for line in self.records if line["split"] == "test")
        found = {line["metric"]: line["value"] for line in self.records if line["split"] == "run"}
        seconds = f", {found['seconds']:.1f} s" if "seconds" in found else ""
        return (
            f"{tested['method']}, seed {tested['seed']}: {tested['epoch'] + 1} epochs{seconds}, "
            f"test {tested['metric']} {tested['value']:.3f}"
        )

    @classmethod
    def of(cls, run: Run, data: Dataset, label: str, subsets: Subsets = None) -> Lines:
        """The lines of a finished run, evaluated after its last and its best epoch.

        On test in all metrics; on validation in the primary one, for those of the ``subsets`` that
        were not looked at after each epoch.
        """
        head = {"data": data.name, "method": label, "seed": run.settings.seed}
        last, best = _evaluate(run, data, "test", subsets)
        lines = [
            *_validation_lines(run),
            *_late_lines(run, data, subsets),
            *_test_lines(run, last, best),
            *_run_lines(run, data),
        ]
        samples = [head | line for line in _sample_lines(run, data, last)]
        return cls([head | line for line in lines], samples)


def _line(epoch: int, split: str, select: str, present: str, **named: Any) -> dict[str, Any]:
    return {"epoch": epoch, "split": split, "select": select, "present": present, **named}


def _validation_lines(run: Run) -> list[dict[str, Any]]:
    primary = run.task.primary
    return [
        _line(entry["epoch"], "validation", "epoch", present, metric=primary, value=values[primary])
        for entry in run.history
        for present, values in entry["validation"].items()
    ]


def _evaluate(
    run: Run, data: Dataset, split: str, subsets: Subsets
) -> tuple[Evaluation, Evaluation]:
    """Of the last and of the best epoch."""
    last = run.evaluate(data, split, subsets=subsets)
    if run.best_epoch == len(run.history) - 1:
        return last, last
    return last, run.evaluate(data, split, "best", subsets)


def _late_lines(run: Run, data: Dataset, subsets: Subsets) -> list[dict[str, Any]]:
    """Validation of the subsets that the epochs left for the end."""
    known, primary = set(run.history[-1]["validation"]), run.task.primary
    wanted = find_subsets(subsets, data.modalities)
    left = [subset for subset in wanted if present_name(subset) not in known]
    if not left:
        return []
    epochs = ("last", len(run.history) - 1), ("best", run.best_epoch)
    return [
        _line(
            epoch,
            "validation",
            select,
            present_name(subset),
            metric=primary,
            value=result.metrics[subset][primary],
        )
        for (select, epoch), result in zip(
            epochs, _evaluate(run, data, "validation", left), strict=True
        )
        for subset in left
        if subset in result.metrics
    ]


def _test_lines(run: Run, last: Evaluation, best: Evaluation) -> list[dict[str, Any]]:
    final = len(run.history) - 1
    return [
        _line(epoch, "test", select, present_name(subset), metric=metric, value=value)
        for select, epoch, result in (("last", final, last), ("best", run.best_epoch, best))
        for subset, values in result.metrics.items()
        for metric, value in values.items()
    ]


def _run_lines(run: Run, data: Dataset) -> list[dict[str, Any]]:
    final, whole = len(run.history) - 1, present_name(data.modalities)
    times = [t for t in ("seconds", "processor") if all(t in entry for entry in run.history)]
    totals = {
        **{t: sum(entry[t] for entry in run.history) for t in times},
        "parameters": float(sum(p.numel() for p in run.model.parameters())),
        "done": 1.0,
    }
    return [_line(final, "run", "run", whole, metric=n, value=v) for n, v in totals.items()]


def _sample_lines(run: Run, data: Dataset, last: Evaluation) -> list[dict[str, Any]]:
    if not run.task.metric.has_shares:  # then a sample has no outcome
        return []
    task = {"metric": run.task.primary, "greater_is_better": run.task.greater_is_better}
    count = len(data.modalities)
    some = [s for s in last.logits if count <= EACH or is_basic(s, count)]
    outcomes = {subset: last.outcome(*subset).tolist() for subset in some}
    return [
        {
            "select": "last",
            "present": present_name(subset),
            "outcome": [None if v != v else round(v, 6) for v in outcome],
            "task": task,
        }
        for subset, outcome in outcomes.items()
    ]
