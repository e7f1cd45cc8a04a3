"""Searches for the tests: on toy data, and with trials that are made up in no time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from toy import toy_data

from counterpoise import Settings
from counterpoise.compare.recipe import Recipe
from counterpoise.core.executors import Tell
from counterpoise.tune.budget import Budget
from counterpoise.tune.search import tune
from counterpoise.tune.trial import COMPLETE, STOPPED, Job, Outcome, Plan
from counterpoise.tune.winners import Found

DATA = toy_data()
RECIPE = Recipe("toy", width=4, settings=Settings(epochs=4, batch_size=72))
SPACE = {"lr": {"low": 1e-5, "high": 0.5, "log": True}, "methods": {"ogm": {"alpha": [0, 0.8]}}}


def search(out: Path, trials: int = 4, **others: Any) -> list[Found]:
    """A search on toy data; others are arguments of ``tune``, or ``recipe`` and ``methods``."""
    methods = others.pop("methods", ["joint", "ogm"])
    space = SPACE if "ogm" in methods else {"lr": SPACE["lr"]}
    given = {"space": space, "data": DATA, "budget": Budget(trials), **others}
    return tune(given.pop("recipe", RECIPE), methods, out, **given)


def seen(found: Sequence[Found]) -> list[Any]:
    """What a search did, without its times."""
    return [(f.label, [(t.number, t.state, t.point, t.curve) for t in f.tried]) for f in found]


def make_up(plan: Plan, job: Job, tell: Tell) -> Outcome:
    """In place of training: values that depend on the learning rate, and are stopped as usual."""
    assert set(plan.data.splits) == {"train", "validation"}
    best = 1 - abs(math.log10(job.point["lr"]) + 2) / 10
    curve: list[float | None] = []
    for epoch in range(plan.recipe.settings.epochs):
        curve.append(best * (1 - 0.5 ** (epoch + 1)))
        tell((job.label, job.number))
        if job.bar.stops(curve):
            return Outcome(STOPPED, curve, 0.1 * len(curve))
    return Outcome(COMPLETE, curve, 0.1 * len(curve))
