"""Figures by subset: their rows, their intervals, and what is expected of a row."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each
from scipy.stats import binomtest
from torch import Tensor

from counterpoise.core.regression import Regression
from counterpoise.core.task import Task
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.deploy import Confidence
from counterpoise.deploy.figures import average, expected, measure
from counterpoise.evaluation import Evaluation, subsets


def guesses(task: Task, target: Tensor, right: Tensor, K: int = 2) -> Evaluation:
    """One modality whose class is right where ``right`` says so."""
    wrong = (target + 1) % K
    logits = torch.nn.functional.one_hot(torch.where(right, target, wrong), K).float()
    rows = {("a",): torch.arange(len(target))}
    values = {("a",): task.metrics(logits, target)}
    return Evaluation(task, "test", {("a",): logits}, target, rows, values)


def several(
    task: Task, count: int = 60, missing: float = 0.0, names: str = "abc", seed: int = 0
) -> Evaluation:
    """Random predictions of each subset, better with more modalities."""
    generator = torch.Generator().manual_seed(seed)
    has = torch.rand(len(names), count, generator=generator) >= missing
    has[0] |= ~has.any(0)
    target: Tensor = torch.randint(task.outputs, (count,), generator=generator)
    truth = torch.nn.functional.one_hot(target, task.outputs).float()
    if isinstance(task, MultiLabel):
        target = truth = (torch.rand(count, task.outputs, generator=generator) > 0.5).float()
    if isinstance(task, Regression):
        target = truth = torch.randn(count, task.outputs, generator=generator)
    logits, rows, values = {}, {}, {}
    for subset in subsets(names):
        some = torch.stack([has[names.index(m)] for m in subset]).any(0).nonzero().squeeze(1)
        noise = torch.randn(len(some), task.outputs, generator=generator)
        logits[subset], rows[subset] = len(subset) * truth[some] + noise, some
        values[subset] = task.metrics(logits[subset], target[some])
    return Evaluation(task, "test", logits, target, rows, values)


def test_where_nothing_is_missing_values_are_those_of_evaluate() -> None:
    def check(task: Task) -> None:
        found = several(task)
        figures = measure(found)
        assert next(iter(figures)) == "a+b+c" and len(figures) == 7
        for subset, values in found.metrics.items():
            here = figures["+".join(subset)]
            assert list(here) == ["rows", *values] and here["rows"] == 60
            for name, value in values.items():
                assert here[name]["value"] == pytest.approx(value, abs=1e-6)

    regression = Regression(2, mean=[0, 0], scale=[1, 1])
    check_each(
        [Classification(3), MultiLabel(3), regression, Regression(1, mean=0, scale=2)], check
    )


def test_a_subset_is_measured_on_the_rows_that_have_all_of_it() -> None:
    found = several(Classification(3), missing=0.5)
    figures = measure(found)
    both = torch.tensor(sorted({*found.rows["a",].tolist()} & {*found.rows["b",].tolist()}))
    whole = found.whole("a", "b")[both]
    value = (whole.argmax(1) == found.target[both]).double().mean()
    assert figures["a+b"]["rows"] == len(both) < len(found.rows["a", "b"])
    assert figures["a+b"]["accuracy"]["value"] == pytest.approx(float(value))
    assert figures["a"]["accuracy"]["value"] == pytest.approx(found.metrics["a",]["accuracy"])


def test_a_share_of_independent_rows_has_wilsons_interval() -> None:
    def check(right: int, count: int) -> None:
        hits = torch.arange(count) < right
        figure = measure(guesses(Classification(2), torch.arange(count) % 2, hits))["a"]["accuracy"]
        wanted = binomtest(right, count).proportion_ci(0.95, "wilson")
        assert figure["low"] == pytest.approx(wanted.low, abs=1e-6)
        assert figure["high"] == pytest.approx(wanted.high, abs=1e-6)

    check_each([(0, 20), (20, 20), (7, 20), (999, 1000), (1, 1)], check)


def test_intervals_of_shares_hold_the_truth_as_often_as_they_say() -> None:
    """Of 20 samples, and of 12 groups of which each is all right or all wrong."""

    def check(size: int, groups: int, least: float) -> None:
        generator, held = torch.Generator().manual_seed(0), 0
        for _ in range(300):
            right = torch.rand(groups, generator=generator) < 0.8
            hits, codes = (
                right.repeat_interleave(size),
                torch.arange(groups).repeat_interleave(size),
            )
            found = guesses(Classification(2), torch.arange(len(hits)) % 2, hits)
            figure = measure(found, codes if size > 1 else None)["a"]["accuracy"]
            held += figure["low"] <= 0.8 <= figure["high"]
        assert held / 300 >= least, held / 300

    # Without groups, the second would hold it in less than half of the cases.
    check_each([(1, 20, 0.93), (15, 12, 0.93)], check)


def test_four_groups_say_little() -> None:
    generator, held = torch.Generator().manual_seed(0), 0
    codes = torch.arange(4).repeat_interleave(100)
    for _ in range(200):
        rates = 0.6 + 0.4 * torch.rand(4, generator=generator)
        hits = torch.rand(400, generator=generator) < rates[codes]
        figure = measure(guesses(Classification(2), torch.arange(400) % 2, hits), codes)["a"]
        held += figure["accuracy"]["low"] <= 0.8 <= figure["accuracy"]["high"]
    assert held / 200 >= 0.93, held / 200


def test_groups_that_are_alike_by_chance_say_no_more_than_their_rows() -> None:
    """Three people, two thirds of each right: that is no proof of two thirds."""
    target = torch.zeros(45, dtype=torch.int64)
    right = torch.arange(45) % 3 < 2
    (alike,) = measure(guesses(Classification(2), target, right), torch.arange(45) // 15).values()
    (alone,) = measure(guesses(Classification(2), target, right)).values()
    assert alike["accuracy"]["value"] == pytest.approx(2 / 3, abs=1e-6)
    width = alike["accuracy"]["high"] - alike["accuracy"]["low"]
    assert width > alone["accuracy"]["high"] - alone["accuracy"]["low"] > 0.2


def test_means_and_other_metrics_have_intervals_that_hold_the_truth() -> None:
    """The error of a regression, and as the primary metric a macro F1 score, 1,500 rows wide."""

    def check(task: Task, count: int, metric: str, truth: float) -> None:
        held = 0
        for seed in range(40):
            figure = measure(several(task, count, names="a", seed=seed))["a"][metric]
            assert figure["low"] < figure["value"] < figure["high"]
            held += figure["low"] <= truth <= figure["high"]
        assert held >= 35, held

    normal = math.sqrt(2 / math.pi)
    large = several(Classification(2).with_metric("macro-f1"), 200_000, names="a", seed=99)
    macro = large.metrics["a",]["macro-f1"]
    check_each(
        [
            (Regression(1, mean=0, scale=1), 30, "mae", normal),
            (Classification(2).with_metric("macro-f1"), 1500, "macro-f1", macro),
        ],
        check,
    )


def test_draws_of_a_part_of_the_rows_tell_the_spread_of_all() -> None:
    task = Classification(2).with_metric("macro-f1")
    figures = [measure(several(task, 9000, names="a", seed=s))["a"]["macro-f1"] for s in range(12)]
    wide = np.mean([figure["high"] - figure["low"] for figure in figures]) / 2 / 1.96
    assert 0.6 < wide / np.std([figure["value"] for figure in figures], ddof=1) < 1.7


def test_what_is_not_known_is_null() -> None:
    found = several(Classification(3), count=1)
    figures = json.loads(json.dumps(measure(found), allow_nan=False))
    assert figures["a"]["accuracy"]["low"] is not None  # Wilson's knows of one row, too
    assert figures["a"]["nll"]["low"] is None and figures["a"]["auroc"]["value"] is None
    one = measure(several(Classification(3)), torch.zeros(60, dtype=torch.long))["a"]["accuracy"]
    assert one["value"] is not None and one["low"] is None  # one group
    found.logits["a",][0] = math.nan
    figures = measure(found)["a"]
    assert all(figure["value"] is None for name, figure in figures.items() if name != "rows")
    apart = several(Classification(3), 4)
    rows = {s: torch.arange(2) if s == ("a",) else r for s, r in apart.rows.items()}
    rows["b",] = torch.arange(2, 4)
    logits = {s: x[: len(rows[s])] for s, x in apart.logits.items()}
    figures = measure(Evaluation(apart.task, "test", logits, apart.target, rows, apart.metrics))
    assert figures["a+b"]["rows"] == 0 and figures["a+b"]["accuracy"]["value"] is None


def test_only_the_primary_of_other_metrics_has_an_interval() -> None:
    figures = measure(several(Classification(3).with_metric("auroc")))["a"]
    assert list(figures)[1] == "auroc" and figures["auroc"]["low"] is not None
    assert figures["macro-f1"]["low"] is None and figures["accuracy"]["low"] is not None


def test_figures_are_of_calibrated_predictions_and_tell_what_they_were() -> None:
    found = several(Classification(3), 400)
    hot = {s: 10 * x for s, x in found.logits.items()}
    sure = Evaluation(found.task, "test", hot, found.target, found.rows, found.metrics)
    figures = measure(sure, confidence=Confidence.fit(sure))["a"]
    before = measure(sure)["a"]
    assert figures["ece-uncalibrated"]["value"] == before["ece"]["value"]
    assert figures["ece"]["value"] < before["ece"]["value"] / 2
    assert figures["nll"]["value"] < before["nll"]["value"] / 2
    assert figures["accuracy"] == before["accuracy"]


FIGURES: dict[str, Any] = {
    "test": {"a": {"rows": 9, "accuracy": {"value": 0.5}}, "b": {"accuracy": {"value": None}}},
    "validation": {
        "a": {"accuracy": {"value": 0.1}},
        "b": {"accuracy": {"value": 0.25}},
        "a+b": {"accuracy": {"value": 0.75}},
    },
}


def test_the_expectation_of_a_row_is_the_figure_of_its_subset() -> None:
    present = np.array([[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]], dtype=bool)
    found = expected(FIGURES, Classification(2), ("b", "a"), present)
    assert found.tolist()[:3] == [0.25, 0.5, 0.75] and math.isnan(found[3]) and found[4] == 0.25
    assert np.isnan(expected({}, Classification(2), ("b", "a"), present)).all()
    assert np.isnan(expected(FIGURES, Regression(1), ("b", "a"), present)).all()
    assert expected(FIGURES, Classification(2), ("b", "a"), present[:0]).shape == (0,)


MANY = "abcdefg"


def many(split: str = "test") -> dict[str, Any]:
    """Of seven modalities all, each alone and two pairs; a third pair has no rows."""
    values = {"+".join(MANY): 0.9, **dict.fromkeys(MANY, 0.3), "a+b": 0.5, "c+d": 0.6, "e+f": None}
    return {split: {name: {"rows": 9, "accuracy": {"value": v}} for name, v in values.items()}}


def test_of_many_modalities_the_mean_of_as_many_is_expected_of_an_unmeasured_subset() -> None:
    def ask(figures: dict[str, Any], *subsets: str) -> list[float]:
        present = np.array([[m in subset for m in MANY] for subset in subsets], dtype=bool)
        return expected(figures, Classification(2), MANY, present).tolist()

    found = ask(many(), "ab", "ag", "ef", "a", MANY)
    assert found == pytest.approx([0.5, 0.55, 0.55, 0.3, 0.9])
    assert np.isnan(ask(many(), "abc", "")).all()  # no three were measured
    exact = {"a+g": {"accuracy": {"value": 0.2}}}  # itself on validation before others on test
    assert ask({**many(), "validation": exact}, "ag", "bg") == pytest.approx([0.2, 0.55])
    assert ask(many("validation"), "ag") == pytest.approx([0.55])
    few = {"test": {"a": {"accuracy": {"value": 0.5}}, "b": {"accuracy": {"value": None}}}}
    here = expected(few, Classification(2), "ab", np.array([[False, True]]))
    assert np.isnan(here).all()  # of few modalities, another one says nothing of it


def test_means_over_subsets_say_of_how_many_they_are() -> None:
    found = average(many()["test"])
    assert list(found) == [7, 1, 2] and found[2]["accuracy"]["subsets"] == 2
    assert found[2]["accuracy"]["value"] == pytest.approx(0.55) and "rows" not in found[2]
    assert average({"a": {"accuracy": {"value": None}}}) == {1: {}}
