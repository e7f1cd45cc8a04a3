"""OPM: features of the modality that is ahead are dropped at random."""

from itertools import product
from math import tanh

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy import same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import Concat, InputError, MultimodalModel, build_method, fit
from counterpoise.methods.opm import drop_rates, keep

NAN = float("nan")


def test_the_rates_in_closed_form():
    def of(rows, q_base=0.5, strength=0.5):
        return drop_rates(torch.tensor(rows), q_base, strength).tolist()

    assert of([[0.4, 0.4], [0.2, 0.2]]) == pytest.approx([0.5 * (1 + 0.5 * tanh(1)), 0])
    assert of([[0.2, 0.2], [0.4, 0.4]], 0.4, 1) == pytest.approx([0, 0.4 * (1 + tanh(1))])
    assert of([[0.3, 0.3], [0.3, 0.3]]) == [0, 0]
    three = [[0.6] * 3, [0.3] * 3, [0.5] * 3]
    wanted = [0.5 + 0.25 * tanh(0.6 / 0.4 - 1), 0, 0.5 + 0.25 * tanh(0.5 / 0.45 - 1)]
    assert of(three) == pytest.approx(wanted)
    assert of([[0.4, 0.4], [0.2, 0.2]], 0.9, 9) == [1, 0]
    assert of([[0.4, NAN], [NAN, NAN]]) == [0, 0]


@pytest.mark.parametrize("rates", [[0.5, 0.25, 0.0], [0.5, 0.25, 0.75], [1.0, 1.0, 0.5]])
@pytest.mark.parametrize("pattern", list(product([False, True], repeat=3))[1:])
def test_chances_are_exact_and_each_sample_keeps_something(rates, pattern):
    """Over a grid of all draws: how often each is kept is what ``keep`` says."""
    ticks = (torch.arange(8) + 0.5) / 8
    draws = torch.cartesian_prod(ticks, ticks, ticks).T
    present = torch.tensor(pattern)[:, None].expand_as(draws)
    scores = torch.tensor([0.3, 0.6, NAN if not pattern[2] else 0.4])
    kept, chances = keep(present, scores, torch.tensor(rates), draws)
    assert not (kept & ~present).any() and kept.any(0).all()
    here = torch.tensor(pattern)
    torch.testing.assert_close(kept.float().mean(1)[here], chances[here, 0])
    chosen = kept / chances
    certain = here & (chances[:, 0] > 0)
    torch.testing.assert_close(chosen.mean(1)[certain], torch.ones(int(certain.sum())))
    # what comes back where all were dropped is the strongest that is there
    lost = (draws < torch.tensor(rates)[:, None]) | ~present
    back = kept[:, lost.all(0)]
    best = max((s, k) for k, s in enumerate(scores.tolist()) if pattern[k])[1]
    assert back[best].all() and back.sum() == back.shape[1]


@pytest.mark.parametrize("rescale", ["common", "per_modality"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("count", [2, 3])
def test_the_loss_of_a_batch_by_hand(count, missing, rescale):
    data = toy_data(count, missing=missing)
    model = toy_model(data)
    ctx, batch = toy_context(data, model), toy_batch(data, 48)
    ctx.epoch, ctx.batch, out = 1, 5, model(batch)
    method = build_method("opm", p_exe=1.0, q_base=0.8, rescale=rescale)
    scores = ctx.scores(out, batch)
    q = dict(zip(data.modalities, drop_rates(scores, 0.8, 0.5).tolist(), strict=True))
    own = dict(zip(data.modalities, scores.diagonal().tolist(), strict=True))
    draws = {m: ctx.uniform(batch.index, f"opm {k}") for k, m in enumerate(q)}
    logits, dropped = [], 0
    for i in range(len(batch)):
        here = [m for m in q if batch.present[m][i]]
        best = max(here, key=lambda m: own[m])
        every = torch.tensor([q[m] for m in here]).prod()
        chance = {m: 1 - q[m] + (every if m == best else 0) for m in here}
        kept = [m for m in here if draws[m][i] >= q[m]] or [best]
        dropped += len(here) - len(kept)
        f = model.fusion.head.bias
        for m in kept:
            share = torch.stack([torch.as_tensor(c) for c in chance.values()]).mean()  # one width
            factor = share if rescale == "common" else chance[m]
            f = f + model.fusion.slices()[m] @ out.features[m][i] / factor
        logits.append(f)
    assert dropped > 0
    losses = method.losses(out, batch, ctx)
    torch.testing.assert_close(losses["fused"], F.cross_entropy(torch.stack(logits), batch.target))


def test_the_common_factor_weighs_modalities_by_their_widths():
    data = toy_data()
    encoders = {"a": nn.Linear(4, 24), "b": nn.Linear(5, 8)}
    model = MultimodalModel(encoders, Concat({"a": 24, "b": 8}, 3))
    ctx, batch = toy_context(data, model), toy_batch(data)
    out, seen = model(batch), {}
    model.fuse = lambda features, present: seen.update(features) or out
    build_method("opm", p_exe=1.0, warm_up=0).losses(out, batch, ctx)
    rates = drop_rates(ctx.scores(out, batch), 0.5, 0.5)
    factor = 1 / (1 - (24 * rates[0] + 8 * rates[1]) / 32)
    other = "ab"[int(rates.argmin())]
    torch.testing.assert_close(seen[other], out.features[other] * factor)


def test_how_often_batches_are_chosen_and_features_dropped():
    data = toy_data()
    ctx, batch = toy_context(data), toy_batch(data)
    ctx.epoch, out, fused = 1, ctx.model(batch), []
    ctx.model.fuse = lambda features, present: fused.append(features["a"]) or out
    for ctx.batch in range(1000):
        batch = data.train[torch.arange(16)]
        object.__setattr__(batch, "index", batch.index + 100 * ctx.batch)
        build_method("opm", p_exe=0.3).losses(out, batch, ctx)
    rate = drop_rates(ctx.scores(out, batch), 0.5, 0.5)[0]
    assert len(fused) / 1000 == pytest.approx(0.3, abs=0.05)
    gone = (torch.stack(fused) == 0).all(-1).float().mean()
    assert gone == pytest.approx(rate.item(), abs=0.03)


def trained(method, epochs=2):
    data = toy_data(missing=0.3)
    model = toy_model(data)
    fit(model, data, method, epochs=epochs, batch_size=16, lr=0.05, momentum=0.9)
    return weights(model)


def test_never_dropping_is_joint_training_to_the_bit():
    joint = trained("joint")
    for options in ({"p_exe": 0.0}, {"q_base": 0.0}, {"warm_up": 2}):
        assert same(trained(build_method("opm", **options)), joint), options
    assert not same(trained(build_method("opm", warm_up=1)), joint)


@pytest.mark.parametrize(("epochs", "first"), [(100, 6), (10, 1), (3, 0)])
def test_the_warm_up(epochs, first):
    data = toy_data()
    ctx, batch = toy_context(data, epochs=epochs), toy_batch(data)
    out, method = ctx.model(batch), build_method("opm", p_exe=1.0)
    plain, acts = build_method("joint").losses(out, batch, ctx)["fused"], []
    for ctx.epoch in range(8):
        acts += [ctx.epoch] if method.losses(out, batch, ctx)["fused"] != plain else []
    assert acts == list(range(first, 8))


def test_what_does_not_fit_is_refused():
    data = toy_data()
    with pytest.raises(InputError, match="trains a Concat fusion, found Sum"):
        build_method("opm").check(toy_model(data, fusion="sum"), data.task)
    with pytest.raises(InputError, match="regression"):
        build_method("opm").check(toy_model(data), toy_data(regression=True).task)
    for bad in (
        {"q_base": 1.5},
        {"strength": -1},
        {"p_exe": -0.1},
        {"warm_up": 0.5},
        {"rescale": "none"},
    ):
        with pytest.raises(InputError, match=next(iter(bad))):
            build_method("opm", **bad)
