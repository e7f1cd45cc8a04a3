"""Halves of a split: as large, as like, and never through a group."""

import numpy as np
import torch
from folded import check_each

from counterpoise import Classification, Regression
from counterpoise.deploy.confidence.halves import halve


def test_each_class_is_halved():
    def check(counts):
        target = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        second = halve(Classification(len(counts)), target, None, 0)
        assert second.sum() in (len(target) // 2, len(target) // 2 + 1)
        for k, count in enumerate(counts):
            assert abs(2 * second[target == k].sum() - count) <= 2

    check_each([([40, 6],), ([3, 3, 3],), ([1, 50, 7, 9],)], check)


def test_samples_of_a_group_stay_together():
    generator = torch.Generator().manual_seed(0)
    groups = torch.randint(20, (300,), generator=generator)
    target = torch.randint(3, (300,), generator=generator)
    second = halve(Classification(3), target, groups, 0)
    for group in groups.unique():
        assert len(set(second[groups == group].tolist())) == 1
    assert 0.4 < second.mean() < 0.6
    for k in range(3):
        assert 0.4 < second[target == k].mean() < 0.6


def test_the_seed_alone_decides():
    target = torch.randn(50)
    task = Regression(1)
    assert np.array_equal(halve(task, target, None, 3), halve(task, target, None, 3))
    assert not np.array_equal(halve(task, target, None, 3), halve(task, target, None, 4))
    assert halve(task, target, None, 3).sum() == 25


def test_what_cannot_be_parted_calibrates():
    target = torch.randint(3, (9,))
    assert not halve(Classification(3), target, torch.full((9,), 4), 0).any()
    assert not halve(Classification(3), target[:1], None, 0).any()
    assert len(halve(Classification(3), target[:0], None, 0)) == 0
