"""What is answered is as right as was asked for, in nine of ten calibrations."""

import math

import numpy as np
import pytest
from folded import check_each

from counterpoise.deploy.confidence import abstention
from counterpoise.deploy.confidence.abstention import DOUBT, STEPS, Steps

DRAWS = 800
ERROR = 3 * math.sqrt(DOUBT * (1 - DOUBT) / DRAWS)


def draw_steps(right, rows, seed=0):
    """Many calibrations on chances even in [0.5, 1] that are right as often as ``right`` says."""
    generator = np.random.default_rng(seed)
    steps = Steps.empty(DRAWS)
    for place in range(DRAWS):
        before, after = 0.5 + generator.random((2, rows)).astype(np.float32) / 2
        steps.count(place, before, after, generator.random(rows) < right(after))
    return steps


def share_broken(steps, right, accuracy):
    """Of the calibrations, those whose answers are less accurate than was asked for; and kept."""
    best = steps.choose(accuracy)
    least = np.where(best < 0, 1, steps.thresholds[np.arange(DRAWS), best])
    grid = np.linspace(0.5, 1, 4001)
    exact = right(grid)[::-1].cumsum()[::-1] / np.arange(len(grid), 0, -1)
    kept = np.maximum(least, 0.5)
    return float((exact[np.searchsorted(grid, kept)] < accuracy)[best >= 0].sum() / DRAWS), (
        float(2 * (1 - kept).mean())
    )


def honest(sure):
    return sure


def flat(sure):
    """Just less than what is asked for, whatever is kept: every answer breaks the promise."""
    return np.full(len(sure), 0.8999)


def turned(sure):
    """The surest rows are the worst, which calibration on others may not show."""
    return 1.45 - sure * 0.6


CASES = [
    (honest, 100, 0.85),
    (honest, 400, 0.85),
    (honest, 400, 0.95),
    (flat, 200, 0.9),
    (flat, 800, 0.9),
    (turned, 400, 0.95),
]


def check_promise(right, rows, accuracy):
    assert share_broken(draw_steps(right, rows), right, accuracy)[0] <= DOUBT + ERROR


def test_answers_are_as_accurate_as_asked_in_nine_of_ten_calibrations():
    check_each(CASES, check_promise)


def test_taking_what_looks_good_would_fail(monkeypatch):
    """Each threshold with the whole doubt for itself: the best of forty is often luck."""
    monkeypatch.setattr(
        Steps, "_share_out", lambda self, accuracy: np.full(self.thresholds.shape, DOUBT)
    )
    with pytest.raises(AssertionError, match="cases failed"):
        check_each(CASES, check_promise)


def test_much_is_answered_where_much_can_be():
    """The mean share of rows; knowing all, one would answer 60, 60, 20 and 100 % of them."""

    def check(right, rows, accuracy, least):
        assert share_broken(draw_steps(right, rows), right, accuracy)[1] > least

    check_each(
        [
            (honest, 400, 0.85, 0.36),
            (honest, 2500, 0.85, 0.5),
            (honest, 2500, 0.95, 0.09),
            (lambda sure: np.full(len(sure), 0.99), 400, 0.95, 0.97),
        ],
        check,
    )


def test_what_cannot_be_had_is_withheld():
    """Too few rows, or a model that is never right; and the smallest number that is enough."""

    def check(rows, wrong, accuracy, found):
        steps, sure = Steps.empty(1), np.linspace(0.5, 1, max(rows, 1)).astype(np.float32)
        right = np.arange(rows) >= wrong
        steps.count(0, sure, sure[:rows], right)
        assert (steps.choose(accuracy)[0] >= 0) == found

    # 0.9 ** n <= 0.1 / 1 needs 22 rows where everything starts at the last threshold.
    check_each(
        [(21, 0, 0.9, False), (22, 0, 0.9, True), (500, 500, 0.1, False), (500, 0, 0.9999, False)],
        check,
    )
    empty = Steps.empty(2)
    assert empty.choose(0.5).tolist() == [-1, -1]
    assert empty.describe(empty.choose(0.5)) == {}


def test_counts_are_those_of_the_measured_rows():
    generator = np.random.default_rng(0)
    before, after = generator.random((2, 300)).astype(np.float32)
    right = generator.random(300) < after
    steps = Steps.empty(2)
    steps.count(1, before, after, right)
    assert steps.rows.tolist() == [0, 300]
    for step in range(STEPS):
        kept = after >= steps.thresholds[1, step]
        assert steps.kept[1, step] == kept.sum()
        assert steps.right[1, step] == right[kept].sum()
        share = (before >= steps.thresholds[1, step]).mean()
        assert (step + 1) / STEPS <= share < (step + 1) / STEPS + 2 / 300 or step == STEPS - 1
    assert steps.thresholds[1, -1] == 0 and not steps.kept[0].any()
    found = steps.describe(np.array([-1, 20]))[1]
    assert found.threshold == steps.thresholds[1, 20]
    assert found.share == steps.kept[1, 20] / 300
    assert found.accuracy == pytest.approx(steps.right[1, 20] / steps.kept[1, 20])


def test_states_are_exact():
    steps, again = draw_steps(honest, 50), Steps.empty(DRAWS)
    for place in range(10):
        again.restore(place, steps.state(place))
        for name in ("thresholds", "kept", "right", "rows"):
            assert np.array_equal(getattr(again, name)[place], getattr(steps, name)[place])


def test_the_first_threshold_has_enough_rows_for_some_mistakes():
    """With 0.9 of one wrong answer in half of the rows, or of none in all; the test is exact."""
    from scipy.stats import binom

    def check(rows, accuracy, wrong):
        first = abstention._find_first(np.array([rows, 0]), accuracy)
        assert first[1] == STEPS - 1
        sizes = np.arange(wrong, 3000)
        level = DOUBT * abstention._FIRST
        need = sizes[binom.sf(sizes - wrong - 1, sizes, accuracy) <= level][0]
        assert first[0] == min(math.ceil(need * STEPS / rows), STEPS) - 1

    check_each([(20, 0.9, 0), (70, 0.9, 0), (85, 0.9, 1), (110, 0.9, 2), (400, 0.9, 4)], check)
