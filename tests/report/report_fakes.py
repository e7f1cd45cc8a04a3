"""Records and samples as ``compare`` writes them, made up but plausible."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from counterpoise.report import records

Lines = list[dict[str, Any]]

# How often a method is right with all modalities, and with one of them.
SKILL = {"unimodal": (0.9, 0.75), "joint": (0.92, 0.35), "mla": (0.95, 0.9)}


def fakes(
    methods: Sequence[str] = ("joint", "mla", "unimodal"),
    seeds: Sequence[int] = (0, 1),
    modalities: Sequence[str] = ("audio", "image"),
    epochs: int = 4,
    samples: int = 300,
    data: str = "toy",
    regression: bool = False,
    skill: Mapping[str, tuple[float, float]] = SKILL,
) -> tuple[Lines, Lines]:
    """The lines of ``records.jsonl`` and of ``samples.jsonl`` of finished runs."""
    task = {"metric": "mae", "greater_is_better": False}
    if not regression:
        task = {"metric": "accuracy", "greater_is_better": True}
    subsets = [
        "+".join(s) for n in range(len(modalities), 0, -1) for s in combinations(modalities, n)
    ]
    lines: Lines = []
    outcomes: Lines = []
    for method in methods:
        for seed in seeds:
            chance = random.Random(f"{data} {method} {seed}")
            run = {"data": data, "method": method, "seed": seed}

            def line(*rest: object, run: dict[str, Any] = run) -> None:
                lines.append({**run, **dict(zip(records.RECORD[3:], rest, strict=True))})

            whole, single = skill.get(method, (0.93, 0.6))
            for present in subsets:
                good = whole if present == subsets[0] else single
                for epoch in range(epochs):
                    value = good * (1 - 0.6 ** (epoch + 1)) + chance.gauss(0, 0.01)
                    value = 2 - value if regression else value
                    line(epoch, "validation", "epoch", present, str(task["metric"]), value)
                for select, epoch in (("last", epochs - 1), ("best", epochs - 2)):
                    right = [
                        chance.gauss(2 - good, 0.3) if regression else chance.random() < good
                        for _ in range(samples)
                    ]
                    found = [abs(float(r)) for r in right]
                    mean = sum(found) / samples
                    line(epoch, "test", select, present, str(task["metric"]), mean)
                    line(epoch, "test", select, present, "nll", 2.5 - 2 * mean)
                    about = {**run, "select": select, "present": present}
                    outcomes.append({**about, "outcome": found, "task": task})
            line(epochs - 1, "run", "run", subsets[0], "seconds", 12 + chance.random())
            line(epochs - 1, "run", "run", subsets[0], "parameters", 123_456)
            line(epochs - 1, "run", "run", subsets[0], "done", 1)
    return lines, outcomes


def folder_of(path: Path, lines: Lines, outcomes: Lines) -> Path:
    """A folder with these lines."""
    records.append(path / "records.jsonl", lines)
    records.append(path / "samples.jsonl", outcomes)
    return path
