"""The bound for finite samples, by simulation; ranks, pools and what is kept of many scores."""

import math
from fractions import Fraction

import numpy as np
import pytest
from folded import check_each

from counterpoise.deploy.confidence import conformal
from counterpoise.deploy.confidence.conformal import COVERAGES, Scores, find_rank

NUMBERS = 60_000  # scores in a simulation


def mean_coverage(rows, coverage, seed=0):
    """Over many draws of scores that are even in [0, 1], where a limit is its own coverage."""
    generator = np.random.default_rng(seed)
    draws = NUMBERS // rows
    values = generator.random(draws * rows).astype(np.float32)
    cells = np.repeat(np.arange(draws), rows)
    limits = Scores.of(cells, values, (draws, 1)).find_limits(coverage, False)
    return float(limits.mean())


CASES = [(n, c) for n in (9, 19, 50, 200, 1001) for c in (0.5, 0.8, 0.9, 0.95) if n * (1 - c) >= c]


def check_bound(rows, coverage):
    error = 4 * math.sqrt(coverage * (1 - coverage) / NUMBERS)
    found = mean_coverage(rows, coverage)
    assert coverage - error <= found <= coverage + 1 / (rows + 1) + error


def test_the_mean_coverage_lies_within_the_bound():
    check_each(CASES, check_bound)


def test_the_plain_quantile_would_fail(monkeypatch):
    """The ceil(n * coverage)-th score holds the truth less often than it says."""
    monkeypatch.setattr(
        conformal, "find_rank", lambda n, c: np.ceil(np.round(n * c, 9)).astype(np.int64)
    )
    with pytest.raises(AssertionError, match="cases failed"):
        check_each(CASES, check_bound)


def test_ranks_are_exact():
    """As fractions give them, where a product of floats may be above a whole number."""

    def check(percent):
        rows = np.arange(2000)
        wanted = [math.ceil((n + 1) * Fraction(percent, 100)) for n in rows.tolist()]
        assert find_rank(rows, percent / 100).tolist() == wanted

    check_each(range(1, 100), check)


def test_limits_are_those_of_all_scores_or_a_little_above():
    """At the listed coverages exactly those; between them never lower, and by 5 % at most."""
    values = np.random.default_rng(0).random(5000).astype(np.float32)
    scores = Scores.of(np.zeros(5000, dtype=np.int64), values, (1, 1))
    assert len(scores.value) == len(COVERAGES) + 1
    assert scores.rows.tolist() == [[5000]]
    ordered = np.sort(values)

    def check(coverage):
        found = float(scores.find_limits(coverage, False)[0, 0])
        exact = float(ordered[math.ceil(round(5001 * coverage, 9)) - 1])
        assert exact <= found <= exact + (0 if coverage in COVERAGES else 0.051)

    check_each([*COVERAGES, 0.033, 0.33, 0.777, 0.853, 0.992, 0.9997], check)


def test_too_few_rows_give_no_limit():
    scores = Scores.of(np.zeros(9, dtype=np.int64), np.arange(9, dtype=np.float32), (1, 2))
    assert scores.find_limits(0.9, False).tolist() == [[8.0, np.inf]]
    assert scores.find_limits(0.91, False).tolist() == [[np.inf, np.inf]]


def test_small_classes_share_a_limit():
    """Those with fewer than 9 rows for 0.9; a class joins them where they are still too few."""

    def check(rows, pooled):
        cells = np.repeat(np.arange(len(rows)), rows)
        generator = np.random.default_rng(0)
        values = generator.random(len(cells)).astype(np.float32)
        scores = Scores.of(cells, values, (1, len(rows)))
        found = scores.find_pooled(0.9)[0]
        assert np.flatnonzero(found).tolist() == pooled
        limits = scores.find_limits(0.9, True)[0]
        groups = [[k] for k in range(len(rows)) if k not in pooled] + [pooled] * bool(pooled)
        for group in groups:
            mine = np.sort(values[np.isin(cells, group)])
            rank = math.ceil(round((len(mine) + 1) * 0.9, 9))
            wanted = mine[rank - 1] if rank <= len(mine) else np.inf
            assert np.all(limits[group] == np.float32(wanted))

    check_each(
        [
            ([9, 9, 20], []),
            ([5, 30, 6], [0, 2]),
            ([3, 2, 40, 12], [0, 1, 3]),
            ([0, 100, 50], [0, 2]),
            ([2, 2, 3], [0, 1, 2]),
            ([8, 0, 1, 0], [0, 1, 2, 3]),
            ([0, 0], [0, 1]),
        ],
        check,
    )


def test_pools_of_one_place_leave_others_alone():
    cells = np.repeat(np.arange(4), [3, 50, 50, 3])
    values = np.random.default_rng(1).random(len(cells)).astype(np.float32)
    both = Scores.of(cells, values, (2, 2)).find_limits(0.8, True)
    for place in range(2):
        mine = cells // 2 == place
        alone = Scores.of(cells[mine] % 2, values[mine], (1, 2)).find_limits(0.8, True)
        assert np.array_equal(alone[0], both[place])


def test_states_are_exact():
    cells = np.repeat(np.arange(6), [3, 0, 500, 1, 40, 0])
    values = np.random.default_rng(2).random(len(cells)).astype(np.float32)
    scores = Scores.of(cells, values, (3, 2))
    again = Scores.restore({p: scores.state(p) for p in (2, 0, 1)}, (3, 2))
    for name in ("cell", "value", "weight"):
        assert np.array_equal(getattr(again, name), getattr(scores, name))
        assert getattr(again, name).dtype == getattr(scores, name).dtype
