"""Modality valuation: Shapley values of samples, and copies of what contributes little."""

from itertools import combinations, permutations

import pytest
import torch
from toy import Calls, linear_encoders, same, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, MultiLabel, build_method, evaluate, fit
from counterpoise.methods.modality_valuation import copies, listed, wanted

NAN = float("nan")


def valuation(ctx=None, **options):
    method = build_method("modality-valuation", **{"warm_up": 0, **options})
    if ctx is not None:
        method.setup(ctx)
    return method


def context(data, epochs=1, **options):
    """A model that is right often, but not always."""
    model = toy_model(data, encoders=linear_encoders(data, norm=True))
    fit(model, data, epochs=epochs, batch_size=16, lr=0.05)
    return toy_context(data, model, **options)


def by_hand(model, data):
    """phi [M, N] as the mean contribution over all orders of the present modalities."""
    result = evaluate(model, data, split="train")
    right = {
        frozenset(s): result.outcome(*s)
        for size in range(1, len(data.modalities) + 1)
        for s in combinations(data.modalities, size)
    }
    phi = torch.zeros(len(data.modalities), len(data.train))
    for i in range(len(data.train)):
        here = [m for m in data.modalities if data.train.present[m][i]]
        orders = list(permutations(here))
        for order in orders:
            benefit = 0.0
            for k, m in enumerate(order):
                now = (k + 1) * right[frozenset(order[: k + 1])][i]
                phi[data.modalities.index(m), i] += (now - benefit) / len(orders)
                benefit = now
    return phi, right


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_values_are_mean_contributions_to_the_benefit(modalities, missing):
    data = toy_data(modalities, missing=missing)
    ctx = context(data)
    calls = {m: Calls(e) for m, e in ctx.model.encoders.items()}
    values, here = valuation(ctx).value(torch.arange(len(data.train)), ctx)
    for m, c in calls.items():  # each sample is encoded once
        assert sum(c.rows) == int(data.train.present[m].sum())
    phi, right = by_hand(ctx.model, data)
    torch.testing.assert_close(values, phi.double(), rtol=0, atol=1e-6)
    masks = torch.stack(list(data.train.present.values()))
    assert torch.equal(here, masks)
    complete = masks.all(0)
    efficient = modalities * right[frozenset(data.modalities)][complete].double()
    torch.testing.assert_close(values.sum(0)[complete], efficient)
    assert ctx.model.training and len(values.unique()) > 3
    some = torch.tensor([40, 3, 17])
    torch.testing.assert_close(valuation(ctx).value(some, ctx)[0], values[:, some])


def test_several_labels_are_valued_by_their_f1():
    data = toy_data(2)
    data.task = MultiLabel(3)
    for part in data.splits.values():
        part.target = torch.nn.functional.one_hot(part.target, 3).float()
    ctx = context(data, epochs=5)
    values, _ = valuation(ctx).value(torch.arange(len(data.train)), ctx)
    torch.testing.assert_close(values, by_hand(ctx.model, data)[0].double(), rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="classification or multilabel only"):
        other = toy_data(regression=True)
        fit(toy_model(other), other, valuation())


def test_copies_of_two_modalities_are_the_papers_table():
    phi = torch.tensor([[-0.5, 0.0, 0.5, 1.0, 1.5], [1.0, 0.5, 0.0, -0.5, 1.5]]).double()
    assert copies(phi, 3).tolist() == [[3, 2, 1, 0, 0], [0, 1, 2, 3, 0]]
    assert not copies(phi, 0).any()


def test_copies_of_more_run_from_the_least_value():
    phi = torch.tensor([-2.0, -1.0, -0.5, 0.0, 1 / 3, 0.5, 1.0, 2.0]).double().expand(3, -1)
    # 3 (1 - phi) / 2, halves rounded up
    assert copies(phi, 3)[0].tolist() == [3, 3, 2, 2, 1, 1, 0, 0]
    assert copies(phi + 1e-12, 3)[0].tolist() == [3, 3, 2, 2, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("means", "counts", "strength", "expected"),
    [
        ([1.0, 0.5], [90, 90], 1.0, [0, 30]),
        ([0.1, 0.5], [90, 90], 0.5, [12, 0]),
        ([1.0, 0.6, 0.2], [90, 90, 60], 1.0, [0, 0, 24]),  # the others' means: .4, .6, .8
        ([0.7, 0.5, NAN], [30, 30, 0], 1.0, [0, 4, 0]),
        ([0.7, NAN], [30, 0], 1.0, [0, 0]),
    ],
)
def test_the_number_of_copies_at_modality_level(means, counts, strength, expected):
    found = wanted(torch.tensor(means, dtype=torch.float64), torch.tensor(counts), strength)
    assert found.tolist() == expected


def test_a_list_of_copies():
    rows = torch.tensor([7, 8, 9])
    pairs = listed(torch.tensor([[0, 2, 0], [1, 0, 1]]), rows)
    assert pairs.tolist() == [[8, 8, 7, 9], [0, 0, 1, 1]]


def seen(method, ctx):
    """(row, modalities) of every sample of an epoch, in order."""
    method.epoch_start(ctx)
    found = []
    for batch in method.batches(ctx):
        for i, row in enumerate(batch.index.tolist()):
            found.append((row, tuple(m for m, mask in batch.present.items() if mask[i])))
    return found


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_an_epoch_holds_the_originals_and_the_copies(missing):
    data = toy_data(3, missing=missing)
    ctx = context(data)
    method = valuation(ctx)
    found = seen(method, ctx)
    whole = {
        i: tuple(m for m in data.modalities if data.train.present[m][i])
        for i in range(len(data.train))
    }
    phi, _ = by_hand(ctx.model, data)
    expected = list(whole.items())
    for i, names in whole.items():
        for m in names:
            value = phi[data.modalities.index(m), i].item()
            number = int(3 * min(max((1 - value) / 2, 0), 1) + 0.5 + 1e-6)
            expected += [(i, (m,))] * number
    assert sorted(found) == sorted(expected)
    assert found[: len(whole)] != list(whole.items()), "shuffled"
    masks = torch.stack(list(data.train.present.values()))
    mean = (phi * masks).sum(1) / masks.sum(1)
    torch.testing.assert_close(method.valuations, mean)
    assert found == seen(method, ctx)
    ctx.epoch = 1
    assert found != seen(method, ctx)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_modality_level_copies_what_lags(missing):
    data = toy_data(2, missing=missing)
    ctx = context(data, epochs=8)
    method = valuation(ctx, level="modality", strength=12.0, share=0.3)
    calls = Calls(ctx.model.encoders["a"])
    found = seen(method, ctx)
    rows = ctx.loaders["train"].order(0)[:22]  # .3 of 72, rounded up
    assert sum(calls.rows) == int(data.train.present["a"][rows].sum())
    values, here = method.value(rows, ctx)
    means = [values[k][here[k]].mean() for k in range(2)]
    torch.testing.assert_close(method.valuations, torch.stack(means).float())
    assert means[0] > means[1]
    size = int(data.train.present["b"].sum())
    number = int(12 * 2 / 3 * (means[0] - means[1]) * size)
    extra = sorted(found)
    for i in range(len(data.train)):
        extra.remove((i, tuple(m for m in "ab" if data.train.present[m][i])))
    assert len(extra) == number > size and {names for _, names in extra} == {("b",)}
    times = [[i for i, _ in extra].count(k) for k in {i for i, _ in extra}]
    assert len(times) == size and max(times) - min(times) <= 1
    assert found == seen(method, ctx)
    ctx.seed = 1
    assert sorted(found) != sorted(seen(method, ctx))


def test_the_warm_up_is_joint_training():
    data = toy_data(missing=0.3)
    settings = {"epochs": 3, "batch_size": 16, "lr": 0.05}
    models = [toy_model(data) for _ in range(5)]
    fit(models[0], data, "joint", **settings)
    fit(models[1], data, valuation(warm_up=3), **settings)
    fit(models[2], data, valuation(most=0), **settings)
    method = valuation(warm_up=2)
    fit(models[3], data, method, **settings)
    fit(models[4], data, method, **settings)  # what it did before is forgotten
    assert same(weights(models[0]), weights(models[1]))
    assert same(weights(models[0]), weights(models[2]))
    assert not same(weights(models[0]), weights(models[3]))
    assert same(weights(models[3]), weights(models[4]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "samples"}, "unknown value for level 'samples'; did you mean 'sample'"),
        ({"warm_up": -1}, "warm_up must be a whole number from 0"),
        ({"most": 1.5}, "most must be a whole number from 0"),
        ({"share": 2}, "share must be a number from 0 to 1"),
        ({"strength": -1}, "strength must be a number from 0"),
    ],
)
def test_errors(options, message):
    with pytest.raises(InputError, match=message):
        valuation(**options)
