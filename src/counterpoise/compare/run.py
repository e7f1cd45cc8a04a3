"""One run of a comparison, and its records."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from counterpoise.core.labels import parse_options as parse_options
from counterpoise.data.dataset import ArrayData
from counterpoise.engine.callback import Callback
from counterpoise.evaluation.subsets import Evaluation, present_name, subsets
from counterpoise.methods.registry import build_method
from counterpoise.training.run import Run

from .recipe import Recipe

Tick = Callable[[str, int], None]


def run_folder(out: Path, label: str, seed: int) -> Path:
    """Where a comparison keeps one of its runs."""
    return out / "runs" / re.sub(r"[^\w.=-]+", "_", label) / f"seed-{seed}"


def one_run(
    recipe: Recipe, data: ArrayData, label: str, seed: int, out: Path, tick: Tick | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Train (or go on with) one run of a comparison; its records and its samples' outcomes."""
    run = recipe.train(
        data,
        build_method(label),
        seed,
        out=run_folder(out, label, seed),
        resume=True,
        callbacks=[_Ticking(label, seed, tick)] if tick else [],
    )
    last = run.evaluate(data)
    is_last = run.best_epoch == len(run.history) - 1
    best = last if is_last else run.evaluate(data, which="best")
    head = {"data": data.name, "method": label, "seed": seed}
    return run_records(head, run, data, last, best), [
        head
        | {
            "select": "last",
            "present": present_name(subset),
            "outcome": [None if v != v else round(v, 6) for v in last.outcome(*subset).tolist()],
            "task": {
                "metric": run.task.primary,
                "greater_is_better": run.task.greater_is_better,
            },
        }
        for subset in subsets(data.modalities)
        if run.task.metric.has_shares  # else a sample has no outcome
    ]


class _Ticking(Callback):
    """Moves the progress of a comparison on by an epoch of one run."""

    def __init__(self, label: str, seed: int, tick: Tick) -> None:
        self.label, self.seed, self.tick = label, seed, tick

    def on_epoch(self, entry: dict[str, Any]) -> None:
        self.tick(self.label, self.seed)


def run_records(
    head: Mapping[str, Any], run: Run, data: ArrayData, last: Evaluation, best: Evaluation
) -> list[dict[str, Any]]:
    """The lines of one run for ``records.jsonl``; the last of them says that it is done."""
    primary, final = run.task.primary, len(run.history) - 1

    def line(epoch: int, split: str, select: str, present: str, metric: str, value: float) -> Any:
        return {
            **head,
            "epoch": epoch,
            "split": split,
            "select": select,
            "present": present,
            "metric": metric,
            "value": value,
        }

    lines = [
        line(entry["epoch"], "validation", "epoch", present, primary, values[primary])
        for entry in run.history
        for present, values in entry["validation"].items()
    ]
    for select, epoch, result in (("last", final, last), ("best", run.best_epoch, best)):
        lines += [
            line(epoch, "test", select, present_name(subset), metric, value)
            for subset, values in result.metrics.items()
            for metric, value in values.items()
        ]
    whole = present_name(data.modalities)
    times = [t for t in ("seconds", "processor") if all(t in entry for entry in run.history)]
    totals = {
        **{t: sum(entry[t] for entry in run.history) for t in times},
        "parameters": float(sum(p.numel() for p in run.model.parameters())),
        "done": 1.0,
    }
    return lines + [line(final, "run", "run", whole, name, v) for name, v in totals.items()]
