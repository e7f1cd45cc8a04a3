"""A temperature is where the likelihood is largest, and finite where that is nowhere."""

import numpy as np
import pytest
import torch
from deploy.confidence.evaluations import toy, toy_labels
from folded import check_each
from scipy.optimize import minimize_scalar

from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.deploy.confidence.temperature import (
    COLDEST,
    HOTTEST,
    fit_temperature,
    spread_temperatures,
)

WHOLE = ("a", "b")


def fit_toy(found, factor=1.0):
    """The temperature of the whole, logits multiplied by a factor."""
    logits = next(iter(found.logits.values()))
    truth = found.task.truth(found.target)
    return fit_temperature(logits.double() * factor, truth, isinstance(found.task, Classification))


def test_logits_that_are_multiplied_give_a_temperature_that_is_multiplied():
    def check(found, factor):
        assert fit_toy(found, factor) == pytest.approx(factor * fit_toy(found), rel=1e-6)

    check_each(
        [(found, c) for found in (toy(200, 0), toy_labels(200, 0)) for c in (0.1, 3, 20)], check
    )


def test_exact_log_probabilities_have_temperature_1():
    """And too sure ones the factor by which they are; 0.05 is three times the sampling error."""
    assert fit_toy(toy(8000, 1)) == pytest.approx(1, abs=0.05)
    assert fit_toy(toy(8000, 1, factor=4)) == pytest.approx(4, abs=0.2)
    assert fit_toy(toy_labels(8000, 1, factor=0.2)) == pytest.approx(0.2, abs=0.01)


def test_it_is_where_scipy_finds_the_minimum_of_the_likelihood():
    """Of the likelihood whose truth is mixed with a quarter of a row of an even spread."""

    def check(seed, rows, factor):
        found = toy(rows, seed, factor=factor)
        logits, truth = found.logits[WHOLE].double(), found.task.truth(found.target)
        share = 0.25 / (rows + 0.25)
        mixed = truth * (1 - share) + share / 3

        def nll(log):
            return -float((mixed * (logits / np.exp(log)).log_softmax(1)).sum(1).mean())

        wanted = minimize_scalar(nll, bounds=(-4, 4), method="bounded", options={"xatol": 1e-9})
        assert fit_toy(found) == pytest.approx(float(np.exp(wanted.x)), rel=1e-4)

    check_each([(s, n, c) for s in range(3) for n in (5, 40, 300) for c in (0.3, 1, 8)], check)


def test_rows_that_are_all_right_do_not_make_chances_of_1():
    """As if a quarter of a row more had been seen, of an unknown class."""

    def check(rows):
        target = torch.arange(rows) % 3
        logits = Classification(3).truth(target) * 7
        heat = fit_temperature(logits, Classification(3).truth(target), True)
        assert COLDEST < heat < HOTTEST
        wrong = 1 - float((logits / heat).softmax(1).amax(1)[0])
        assert wrong == pytest.approx(2 / 3 * 0.25 / (rows + 0.25), rel=1e-6)
        labels = MultiLabel(3).truth((logits > 0).float())
        heat = fit_temperature(logits * 2 - 7, labels, False)
        assert COLDEST < heat < HOTTEST

    check_each([2, 30, 1000], check)


def test_nll_of_almost_perfect_models_is_not_spoilt():
    """Of 75 rows with no mistake or one, the plain maximum costs 0.27 nats on average."""
    new = toy(3000, 99, distance=2.5)
    logits, target = new.logits[WHOLE], new.target
    plain = float(new.task.nll(logits, target).mean())
    lost = [
        float(new.task.nll(logits / fit_toy(toy(75, seed, distance=2.5)), target).mean()) - plain
        for seed in range(40)
    ]
    assert np.mean(lost) < 0.008 and max(lost) < 0.03


def test_where_logits_say_nothing():
    """Nothing to scale: 1. The opposite of the truth: as even as the bound allows."""
    truth = Classification(3).truth(torch.tensor([0, 1, 2]))
    assert fit_temperature(torch.full((3, 3), 5.0), truth, True) == 1
    assert fit_temperature(torch.zeros(0, 3), truth[:0], True) == 1
    assert fit_temperature(torch.zeros(3, 3), truth, False) == 1
    assert fit_temperature(-9 * truth, truth, True) == HOTTEST
    assert fit_temperature(1e-9 * truth, truth, True) == COLDEST


def test_nll_of_new_rows_is_never_much_worse():
    """Of exact log-probabilities nothing can be gained; 20 rows lose little, and more rows less."""
    new = toy(3000, 99)
    logits, target = new.logits[WHOLE], new.target
    plain = float(new.task.nll(logits, target).mean())

    def check(rows, mean, most):
        lost = [
            float(new.task.nll(logits / fit_toy(toy(rows, seed)), target).mean()) - plain
            for seed in range(60)
        ]
        assert np.mean(lost) < mean and max(lost) < most

    check_each([(20, 0.03, 0.2), (100, 0.006, 0.04), (400, 0.0015, 0.02)], check)


def test_places_without_a_temperature_take_that_of_the_nearest():
    apart = np.abs(np.arange(4)[:, None] - np.arange(4))
    own, known = np.array([9.0, 1, 9, 4]), np.array([False, True, False, True])
    np.testing.assert_allclose(spread_temperatures(own, known, apart), [1, 1, 2, 4])
    np.testing.assert_allclose(spread_temperatures(own, known & False, apart), 1)
