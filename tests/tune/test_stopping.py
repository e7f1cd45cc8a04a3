"""Trials are stopped as Optuna's median rule stops them."""

from __future__ import annotations

import random

import optuna

from counterpoise.tune.stopping import AFTER, WARM_UP, Bar

Curve = list[float | None]


def of_optuna(complete: list[Curve], curve: Curve, greater: bool) -> bool:
    """What Optuna says of a trial after its last epoch."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=AFTER, n_warmup_steps=WARM_UP)
    direction = "maximize" if greater else "minimize"
    study = optuna.create_study(direction=direction, pruner=pruner)
    for done in complete:
        trial = study.ask()
        for step, value in enumerate(done):
            if value is not None:
                trial.report(value, step)
        study.tell(trial, 0.0)
    trial = study.ask()
    for step, value in enumerate(curve):
        if value is not None:
            trial.report(value, step)
    return trial.should_prune()


def test_the_bar_is_the_median_rule_of_optuna() -> None:
    chance, stopped = random.Random(0), 0
    for _ in range(60):
        greater = chance.random() < 0.5
        lengths = [chance.randint(2, 6) for _ in range(chance.randint(4, 9))]
        complete: list[Curve] = [[chance.random() for _ in range(n)] for n in lengths]
        low = [0.6 * chance.random() for _ in range(chance.randint(2, 6))]
        curve: Curve = [value if greater else 1 - value for value in low]
        found = Bar.of(complete, greater).stops(curve)
        assert found == of_optuna(complete, curve, greater), (complete, curve, greater)
        stopped += found
    assert 5 < stopped < 55, stopped


def test_what_is_not_defined_stops_nothing() -> None:
    complete: list[Curve] = [[None] * 4] * AFTER
    assert not Bar.of(complete, True).stops([0.1, 0.1, 0.1])
    complete = [[0.5] * 4] * AFTER
    assert not Bar.of(complete, True).stops([None, None, float("nan")])
    assert Bar.of(complete, True).stops([None, None, 0.4])
    assert not Bar().stops([0.0])
