"""Co-learning verdicts: their sign, and what their intervals cover."""

import numpy as np
import pytest
import torch
from toy import toy_data, toy_model

from counterpoise import colearning, evaluate, fit
from counterpoise.evaluation.colearning import judge, paired_interval, resampled_interval


def outcomes(share, samples=200, seed=0):
    return (torch.rand(samples, generator=torch.Generator().manual_seed(seed)) < share).float()


@pytest.mark.parametrize(
    ("together", "alone", "verdict"),
    [(0.9, 0.5, "positive"), (0.5, 0.9, "negative"), (0.7, 0.72, "undecided")],
)
def test_verdict_of_accuracies(together, alone, verdict):
    found = judge("a", [outcomes(together)], [outcomes(alone, seed=1)])
    assert found.verdict == verdict
    assert found.low <= found.difference <= found.high
    assert (found.low > 0, found.high < 0) == (verdict == "positive", verdict == "negative")
    assert str(found).startswith("a: ") and str(found).endswith(verdict)


@pytest.mark.parametrize(("shift", "verdict"), [(-0.5, "positive"), (0.5, "negative")])
def test_a_smaller_error_is_positive(shift, verdict):
    error = 1 + outcomes(0.5)
    found = judge(
        "a", [error + shift + 0.1 * outcomes(0.5, seed=1)], [error], greater_is_better=False
    )
    assert found.verdict == verdict
    assert np.sign(found.difference) == np.sign(shift)


def test_equal_models_are_undecided_at_zero():
    found = judge("a", [outcomes(0.7)], [outcomes(0.7)])
    assert (found.low, found.difference, found.high) == (0, 0, 0)
    assert found.verdict == "undecided"


def test_pairing_narrows_the_interval():
    base, shuffled = outcomes(0.5), outcomes(0.5, seed=9)
    better = torch.maximum(base, outcomes(0.1, seed=2))
    paired = judge("a", [better], [base])
    apart = judge("a", [better], [shuffled])
    assert paired.high - paired.low < (apart.high - apart.low) / 2


def test_samples_that_either_lacks_are_left_out():
    together, alone = outcomes(0.9), outcomes(0.5, seed=1)
    together[:50] = torch.nan
    alone[-30:] = torch.nan
    found = judge("a", [together], [alone])
    kept = slice(50, 170)
    assert found.together == pytest.approx(float(together[kept].mean()))
    assert found.alone == pytest.approx(float(alone[kept].mean()))


def test_seeds_are_averaged_sample_by_sample():
    together = [outcomes(0.8, seed=s) for s in range(3)]
    alone = [outcomes(0.6, seed=s) for s in range(3, 6)]
    found = judge("a", together, alone)
    mean = judge("a", [torch.stack(together).mean(0)], [torch.stack(alone).mean(0)])
    assert found == mean


def test_a_modality_that_no_sample_has_is_undecided():
    nothing = torch.full((20,), torch.nan)
    assert judge("a", [nothing], [nothing]).verdict == "undecided"


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_the_interval_covers_the_mean_as_often_as_it_says(level):
    rng = np.random.default_rng(0)
    trials, inside = 300, 0
    for _ in range(trials):
        low, high = paired_interval(rng.normal(0.3, 1.0, 80), resamples=400, level=level)
        inside += low <= 0.3 <= high
    # 4 standard deviations of a binomial, and 2 points for the bootstrap at N = 80
    slack = 4 * (level * (1 - level) / trials) ** 0.5
    assert level - slack - 0.02 < inside / trials < level + slack


def test_the_interval_shrinks_as_the_root_of_the_samples():
    rng = np.random.default_rng(0)
    widths = [np.ptp(paired_interval(rng.normal(size=n))) for n in (100, 10_000)]
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.2)


def test_the_interval_is_reproducible():
    values = np.random.default_rng(0).normal(size=50)
    assert paired_interval(values) == paired_interval(values)
    assert paired_interval(values) != paired_interval(values, seed=1)


def test_verdicts_of_two_evaluations():
    data = toy_data(samples=300, missing=0.2)
    alone = evaluate(fit(toy_model(data, "unimodal"), data, "unimodal", epochs=8).model, data)
    untrained = evaluate(toy_model(data), data)
    for good, bad, verdict in ((alone, untrained, "positive"), (untrained, alone, "negative")):
        first = colearning(good, bad)[0]
        assert first.modality == "a"
        assert first.verdict == verdict
        mask = data.test.present["a"]
        assert first.together == pytest.approx(float(good.outcome("a")[mask].mean()))


def test_a_metric_that_is_no_mean_over_samples_is_computed_anew_on_samples_drawn_again():
    data = toy_data(2, samples=300)
    task = data.task.with_metric("balanced-accuracy")
    run = fit(toy_model(data), data, epochs=8, lr=0.05)
    good, bad = (evaluate(m, data, task=task) for m in (run.model, toy_model(data)))
    verdict = colearning(good, bad)[0]
    assert verdict.verdict == "positive"
    assert verdict.together == pytest.approx(good.metrics["a",]["balanced-accuracy"])
    assert verdict.alone == pytest.approx(bad.metrics["a",]["balanced-accuracy"])
    assert verdict.low < verdict.difference < verdict.high
    assert colearning(bad, good)[0].verdict == "negative"
    assert colearning(good, good)[0].verdict == "undecided"


def test_resampling_equals_the_bootstrap_of_means_where_both_can_be_had():
    values = outcomes(0.7) - outcomes(0.5, seed=1)
    wanted = paired_interval(values.double().numpy())
    found = resampled_interval(lambda rows: float(values[rows].mean()), len(values))
    assert found == pytest.approx(wanted, abs=0.01)


def test_resampling_says_nothing_where_the_metric_is_hardly_ever_defined():
    assert resampled_interval(lambda rows: float("nan"), 10) == (-np.inf, np.inf)
    assert resampled_interval(lambda rows: 1.0, 1) == (-np.inf, np.inf)
    sometimes = resampled_interval(lambda rows: 1.0 if rows[0] > 0 else float("nan"), 10)
    assert sometimes == (1, 1)
