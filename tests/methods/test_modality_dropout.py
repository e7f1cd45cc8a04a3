"""AMD: what is dropped, how often, and when never."""

from dataclasses import replace

import pytest
import torch
from scipy import stats
from toy import Calls, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, build_method, evaluate, fit
from counterpoise.methods import Joint
from counterpoise.methods.modality_dropout import keep

GRAINS, COUPLINGS = ("batch", "sample"), ("independent", "shared")
both = pytest.mark.parametrize("granularity", GRAINS)
coupled = pytest.mark.parametrize("coupling", COUPLINGS)


def dropout(rates, **options):
    return build_method("modality-dropout", rates=rates, **options)


def masks(method, ctx, batch, draws=400):
    """bool [draws, M, B]: what is left of the batch in many steps."""
    found = []
    for number in range(draws):
        ctx.epoch, ctx.batch = number, number % 20
        left = method.transform(batch, ctx).present
        found.append(torch.stack(list(left.values())))
    return torch.stack(found)


def likely(count, trials, p):
    """Whether a count is no rarer than 1 in 10,000 under a binomial law."""
    return stats.binomtest(int(count), int(trials), p).pvalue > 1e-4


@both
@coupled
@pytest.mark.parametrize("rates", [0.0, {}, {"a": 0.0}])
def test_rate_zero_leaves_the_batch_to_the_bit(rates, granularity, coupling):
    data = toy_data(3, missing=0.3)
    batch, method = toy_batch(data), dropout(rates, granularity=granularity, coupling=coupling)
    ctx = toy_context(data)
    for number in range(50):
        ctx.epoch = number
        left = method.transform(batch, ctx)
        assert same(left.present, batch.present)
        assert all(torch.equal(left.inputs[m], x) for m, x in batch.inputs.items())
        assert torch.equal(left.target, batch.target) and torch.equal(left.index, batch.index)


@both
def test_a_run_with_rate_zero_is_joint_training_to_the_bit(granularity):
    data = toy_data(missing=0.3)
    runs = [
        fit(toy_model(data), data, method, epochs=2, batch_size=16)
        for method in ("joint", dropout(0.0, granularity=granularity), dropout(0.5))
    ]
    joint, none, half = (weights(run.model) for run in runs)
    assert same(joint, none)
    assert not same(joint, half)


class OnlyA(Joint):
    def transform(self, batch, ctx):
        return batch.only("a")


@both
@coupled
def test_a_run_with_rate_one_is_training_with_the_kept_modality_alone(granularity, coupling):
    data = toy_data()
    method = dropout({"b": 1.0}, granularity=granularity, coupling=coupling)
    calls = Calls((model := toy_model(data)).encoders["b"])
    ctx = toy_context(data, model)
    for batch in ctx.loaders["train"].epoch(0):
        method.step(batch, ctx)
    assert not calls  # a dropped modality costs nothing
    first, second = toy_model(data), toy_model(data)
    fit(first, data, method, epochs=2)
    fit(second, data, OnlyA(), epochs=2)
    assert same(weights(first), weights(second))
    assert same(weights(first.encoders["b"]), weights(toy_model(data).encoders["b"]))


@pytest.mark.parametrize("p", [0.15, 0.5, 0.8])
@both
def test_equal_rates_and_one_draw_drop_all_helpers_together(p, granularity):
    data = toy_data(3)
    method = dropout({"b": p, "c": p}, granularity=granularity, coupling="shared")
    found = masks(method, toy_context(data), toy_batch(data))
    a, b, c = found.unbind(1)
    assert bool(a.all())
    assert torch.equal(b, c)  # no partial pattern, ever
    draws = b[:, 0] if granularity == "batch" else b.flatten()
    assert likely((~draws).sum(), len(draws), p)


@both
def test_independent_draws_drop_each_at_its_own_rate(granularity):
    data, rates = toy_data(4), {"b": 0.2, "c": 0.5, "d": 0.7}
    method = dropout(rates, granularity=granularity)
    found = masks(method, toy_context(data), toy_batch(data), draws=1000)
    gone = ~found[:, :, 0].T if granularity == "batch" else ~found.transpose(0, 1).flatten(1)
    assert not gone[0].any()
    for row, p in zip(gone[1:], rates.values(), strict=True):
        assert likely(row.sum(), len(row), p)
    assert likely((gone[1] & gone[2]).sum(), gone.shape[1], 0.2 * 0.5)
    assert likely((gone[2] & gone[3]).sum(), gone.shape[1], 0.5 * 0.7)


@both
def test_unequal_rates_and_one_draw_nest(granularity):
    data = toy_data(3)
    method = dropout({"b": 0.3, "c": 0.6}, granularity=granularity, coupling="shared")
    found = masks(method, toy_context(data), toy_batch(data))
    _, b, c = found.unbind(1)
    assert bool((b | ~c).all())  # wherever b is gone, so is c
    assert bool((b & ~c).any() & (b & c).any() & (~b & ~c).any())


def test_one_draw_a_batch_is_for_all_its_samples_and_one_a_sample_is_not():
    data = toy_data()
    for granularity, uniform in zip(GRAINS, (True, False), strict=True):
        method = dropout({"b": 0.5}, granularity=granularity)
        found = masks(method, toy_context(data), toy_batch(data))[:, 1]
        alike = (found.all(1) | ~found.any(1)).float().mean()
        assert bool(alike == 1) is uniform
        if not uniform:
            assert alike < 0.05


@both
@coupled
@pytest.mark.parametrize("rates", [0.8, 1.0, {"a": 1.0, "b": 0.9, "c": 1.0}])
@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_no_sample_is_ever_left_empty_and_nothing_absent_returns(
    rates, missing, granularity, coupling
):
    data = toy_data(3, missing=missing)
    batch = toy_batch(data)
    before = torch.stack(list(batch.present.values()))
    method = dropout(rates, granularity=granularity, coupling=coupling)
    found = masks(method, toy_context(data), batch)
    assert bool(found.any(1).all())
    assert not bool((found & ~before).any())
    if rates == 1.0:
        assert bool((found.sum(1) == 1).all())


def test_where_all_would_go_the_nearest_to_staying_is_kept():
    draws = torch.tensor([[0.1, 0.7, 0.2], [0.2, 0.1, 0.6], [0.3, 0.2, 0.75]])
    rates = torch.full((3, 1), 0.8)
    everything = torch.ones(3, 3, dtype=torch.bool)
    wanted = torch.tensor([[0, 1, 0], [0, 0, 0], [1, 0, 1]], dtype=torch.bool)
    assert torch.equal(keep(everything, draws, rates), wanted)
    lacking = everything.clone()
    lacking[2, 0] = False
    assert keep(lacking, draws, rates)[:, 0].tolist() == [False, True, False]


def test_with_equal_rates_each_modality_survives_alike():
    data = toy_data()
    found = masks(dropout(0.9, granularity="sample"), toy_context(data), toy_batch(data))
    alone = found.sum(1) == 1
    assert likely((found[:, 0] & alone).sum(), alone.sum(), 0.5)


def test_a_draw_depends_on_seed_epoch_and_sample_only():
    data = toy_data(3)
    method, batch = dropout(0.5, granularity="sample"), toy_batch(data)
    whole = method.transform(batch, toy_context(data)).present
    rows = torch.tensor([11, 3])
    some = method.transform(data.train[rows], toy_context(data)).present
    for name, mask in some.items():
        assert torch.equal(mask, whole[name][rows])
    assert not same(method.transform(batch, toy_context(data, seed=1)).present, whole)


@pytest.mark.parametrize("mode", ["paper", "released"])
def test_evaluation_drops_nothing(mode):
    data = toy_data()
    model = toy_model(data)
    found, wanted = evaluate(model, data, dropout(1.0, mode=mode)), evaluate(model, data, "joint")
    whole = ("a", "b")
    torch.testing.assert_close(found.logits[whole], wanted.logits[whole])


def zeroed(batch, *names):
    return {m: x * 0 if m in names else x for m, x in batch.inputs.items()}


def test_released_zeroes_inputs_and_still_encodes():
    data = toy_data(3)
    method, batch = dropout({"b": 0.5, "c": 0.5}, mode="released"), toy_batch(data)
    ctx, gone = toy_context(data), 0
    for number in range(200):
        ctx.batch = number
        left = method.transform(batch, ctx)
        assert same(left.present, batch.present)
        dropped = bool((left.inputs["b"] == 0).all())
        gone += dropped
        assert same(left.inputs, zeroed(batch, "b", "c") if dropped else batch.inputs)
    assert likely(gone, 200, 0.5)
    calls = Calls(ctx.model.encoders["b"])
    dropout({"b": 1.0}, mode="released").step(batch, ctx)
    assert calls.rows == [16]


def test_released_may_blank_a_whole_sample_as_the_published_code_does():
    data = toy_data()
    left = dropout(1.0, mode="released").transform(toy_batch(data), toy_context(data))
    assert same(left.inputs, zeroed(left, "a", "b"))


def test_released_predicts_a_missing_modality_from_an_input_of_zeros():
    data = toy_data(missing=0.4)
    model, batch = toy_model(data).eval(), toy_batch(data)
    rows = {m: mask[:, None] for m, mask in batch.present.items()}
    full = {m: torch.ones(16, dtype=torch.bool) for m in rows}
    inputs = {m: x * rows[m] for m, x in batch.inputs.items()}
    wanted = model(replace(batch, inputs=inputs, present=full)).logits
    method = dropout(0.5, mode="released")
    torch.testing.assert_close(method.predict(model, batch), wanted)
    known = replace(batch, features=model.encode(batch))
    torch.testing.assert_close(method.predict(model, known), wanted)


def test_released_encodes_missing_rows_in_training_too():
    """As in prediction: a dropped or missing modality is an input of zeros, still encoded."""
    data = toy_data(missing=0.4)
    ctx = toy_context(data)
    calls = Calls(ctx.model.encoders["b"])
    dropout(0.0, mode="released").step(toy_batch(data), ctx)
    assert calls.rows == [16]


def test_errors():
    for rates in (1.5, -0.1, float("nan"), {"a": 2}, "0.5"):
        with pytest.raises(InputError, match=r"rates.* must be a number from 0 to 1, found"):
            dropout(rates)
    with pytest.raises(InputError, match="unknown value for granularity 'step'"):
        dropout(0.5, granularity="step")
    data = toy_data()
    with pytest.raises(InputError, match="unknown modality in rates 'x'; known: a, b"):
        fit(toy_model(data), data, dropout({"x": 0.5}))
