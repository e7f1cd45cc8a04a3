"""Batches and draws: every sample once, in an order that seed and epoch decide."""

import numpy as np
import pytest
import torch
from scipy import stats
from toy import toy_data

from counterpoise import Loader
from counterpoise.core import ranks
from counterpoise.core.loader import mix, uniform


def loader(**options):
    return Loader(toy_data().train, 16, **{"shuffle": True, **options})


def rows(batches):
    return torch.cat([batch.index for batch in batches])


def test_each_epoch_holds_every_sample_once():
    for epoch in range(3):
        batches = list(loader().epoch(epoch))
        assert [len(b) for b in batches] == [16, 16, 16, 16, 8]
        assert len(batches) == len(loader())
        assert torch.equal(rows(batches).sort().values, torch.arange(72))


def test_a_batch_holds_its_rows():
    data = toy_data(missing=0.3).train
    for batch in Loader(data, 16, shuffle=True).epoch(0):
        assert torch.equal(batch.target, data.target[batch.index])
        for name in data.present:
            assert torch.equal(batch.inputs[name], data.inputs[name][batch.index])
            assert torch.equal(batch.present[name], data.present[name][batch.index])


def test_the_order_depends_on_seed_and_epoch_only():
    one, other = loader(seed=1), loader(seed=1)
    list(one.epoch(0))
    torch.rand(7)
    assert torch.equal(one.order(3), other.order(3))
    assert not torch.equal(one.order(3), one.order(4))
    assert not torch.equal(one.order(3), loader(seed=2).order(3))
    assert torch.equal(rows(one.epoch(3)), one.order(3))


def test_shuffling_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    list(loader().epoch(0))
    assert torch.equal(before, torch.get_rng_state())


def test_without_shuffle_the_order_is_the_splits():
    assert torch.equal(rows(loader(shuffle=False).epoch(5)), torch.arange(72))


def test_whole_is_in_the_splits_order_on_every_rank(monkeypatch):
    monkeypatch.setattr(ranks, "world", lambda: 3)
    monkeypatch.setattr(ranks, "rank", lambda: 2)
    assert torch.equal(rows(loader().whole()), torch.arange(72))


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_shares_of_the_ranks_partition_each_global_batch(monkeypatch, world):
    whole = [batch.index for batch in loader().epoch(1)]
    shares = []
    monkeypatch.setattr(ranks, "world", lambda: world)
    for rank in range(world):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        shares.append([batch.index for batch in loader().epoch(1)])
    for number, index in enumerate(whole):
        parts = [share[number] for share in shares]
        assert torch.equal(torch.cat(parts).sort().values, index.sort().values)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("key", [(0, 0, 0), (0, 1, 0), (7, 3, 123456789)])
def test_draws_are_uniform(key):
    draws = uniform(torch.arange(20_000), *key).numpy()
    assert draws.dtype == np.float64
    assert draws.min() >= 0 and draws.max() < 1
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
    assert abs(stats.pearsonr(draws[:-1], draws[1:]).statistic) < 0.03


def test_draws_are_uniform_over_keys_too():
    draws = [
        float(uniform(torch.tensor([3]), seed, epoch, 9))
        for seed in range(50)
        for epoch in range(60)
    ]
    assert stats.kstest(draws, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("other", [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_draws_of_different_keys_are_independent(other):
    index = torch.arange(20_000)
    first, second = uniform(index, 0, 0, 0).numpy(), uniform(index, *other).numpy()
    assert abs(stats.pearsonr(first, second).statistic) < 0.03
    assert abs(stats.pearsonr(first[1:], second[:-1]).statistic) < 0.03
    assert stats.kstest((first + second) % 1, "uniform").pvalue > 1e-3


def test_a_draw_does_not_depend_on_its_company():
    whole = uniform(torch.arange(100), 1, 2, 3)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(uniform(order, 1, 2, 3), whole[order])
    assert torch.equal(uniform(torch.tensor([41]), 1, 2, 3), whole[41:42])
    assert not torch.equal(uniform(torch.arange(100), 1, 2, 4), whole)


def test_draws_leave_the_index_alone():
    index = torch.arange(5)
    uniform(index, 1)
    assert torch.equal(index, torch.arange(5))


def test_mix_tells_numbers_and_their_order_apart():
    numbers = {mix(a, b) for a in range(-1, 40) for b in range(40)}
    assert len(numbers) == 41 * 40
    assert all(0 <= n < 1 << 63 for n in numbers)
    assert mix(0) != mix(0, 0)


@pytest.mark.parametrize(("count", "size"), [(100, 32), (1000, 300), (2561, 513), (5000, 256)])
def test_256_ranks_take_every_sample_once_in_equally_many_batches(monkeypatch, count, size):
    loader = Loader(range(count), size, shuffle=True)
    order = loader.order(3)
    monkeypatch.setattr(loader, "order", lambda epoch, count=None: order)
    monkeypatch.setattr(ranks, "world", lambda: 256)
    found, numbers = [], set()
    for rank in range(256):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        parts = list(loader.shares(3))
        numbers.add(len(parts))
        found += parts
    assert numbers == {len(loader)}
    assert torch.equal(torch.cat(found).sort().values, torch.arange(count))
