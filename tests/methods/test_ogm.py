"""OGM: encoders that are ahead get a smaller gradient."""

from dataclasses import replace
from math import tanh

import pytest
import torch
from torch import nn
from toy import (
    gradients,
    linear_encoders,
    same,
    toy_batch,
    toy_context,
    toy_data,
    toy_model,
    weights,
)

from counterpoise import Concat, InputError, MultiLabel, MultimodalModel, build_method, fit
from counterpoise.methods.ogm import damping


def modulated(method, ctx, batch):
    """Gradients of the joint loss, before and after ``modulate``."""
    method.setup(ctx)
    out = ctx.model(batch)
    method.backward(method.losses(out, batch, ctx), ctx)
    before = gradients(ctx.model)
    method.modulate(out, batch, ctx)
    return before, gradients(ctx.model)


def kappa_by_hand(ctx, batch, alpha):
    """Pair by pair in loops, from the slices of a concat head."""
    names, out, head = ctx.model.modalities, ctx.model(batch), ctx.model.fusion
    score = {}
    for m in names:
        for i in range(len(batch)):
            u = head.slices()[m] @ out.features[m][i] + head.head.bias / batch.counts()[i]
            score[m, i] = u.softmax(0)[batch.target[i]].item()

    def mean(m, rows):
        return sum(score[m, i] for i in rows) / len(rows)

    kappa = {}
    for m in names:
        ratios = []
        for k in names:
            own = {n: [i for i in range(len(batch)) if batch.present[n][i]] for n in (m, k)}
            both = sorted(set(own[m]) & set(own[k]))
            if k != m:
                rows = (both, both) if len(both) >= 8 else (own[k], own[m])
                ratios.append(mean(k, rows[0]) / mean(m, rows[1]))
        rho = len(ratios) / sum(ratios)
        kappa[m] = 1 - tanh(alpha * rho) if rho > 1 else 1.0
    return kappa


@pytest.mark.parametrize("size", [16, 48])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("count", [2, 3])
def test_only_encoders_that_are_ahead_are_scaled(count, missing, size):
    data = toy_data(count, missing=missing)
    ctx, batch = toy_context(data), toy_batch(data, size)
    wanted = kappa_by_hand(ctx, batch, 0.5)
    before, after = modulated(build_method("ogm", alpha=0.5), ctx, batch)
    assert set(wanted.values()) > {1.0}
    for name, gradient in before.items():
        if name.startswith("fusion"):
            assert torch.equal(after[name], gradient)
        else:
            torch.testing.assert_close(after[name], wanted[name.split(".")[1]] * gradient)


def test_the_factor_in_closed_form():
    def of(rows, *options):
        return damping(torch.tensor(rows), *options).tolist()

    double = [[0.4, 0.4], [0.2, 0.2]]
    assert of(double, 0.8) == pytest.approx([0.0783, 1], abs=1e-4)
    assert of(double, 0.8) == pytest.approx([1 - tanh(1.6), 1])
    assert of(double, 0.8, "continuous") == pytest.approx([1 - tanh(0.8), 1])
    three = [[0.6] * 3, [0.3] * 3, [0.4] * 3]  # ratios to the mean of the others
    assert of(three, 0.8) == pytest.approx([1 - tanh(0.8 * 0.6 / 0.35), 1, 1])
    equal = [[0.3, 0.3], [0.3, 0.3]]
    assert of(equal, 0.8) == of(equal, 0.8, "continuous") == [1, 1]
    assert of(equal, 0.8, "jump", "released") == pytest.approx([1 - tanh(0.8), 1])
    assert of(double[::-1], 0.8, "jump", "released") == of(double[::-1], 0.8)
    gone = float("nan")
    three = [[gone] * 3, [gone, 0.3, 0.3], [gone, 0.3, 0.3]]
    assert of(three, 0.8) == [1, 1, 1]
    assert of(three, 0.8, "jump", "released") == pytest.approx([1, 1 - tanh(0.8), 1])
    assert of([[gone, gone], [gone, 0.3]], 0.8, "jump", "released") == [1, 1]


def twins():
    """A context whose two modalities are one: inputs, encoders, columns of the head."""
    data = toy_data()
    encoder = linear_encoders(toy_data(1))["a"]
    other = nn.Linear(4, 6)
    other.load_state_dict(encoder.state_dict())
    fusion = Concat({"a": 6, "b": 6}, 3)
    with torch.no_grad():
        fusion.head.weight[:, 6:] = fusion.head.weight[:, :6]
    batch = toy_batch(data)
    batch = replace(batch, inputs=dict.fromkeys("ab", batch.inputs["a"]))
    return toy_context(data, MultimodalModel({"a": encoder, "b": other}, fusion)), batch


def test_equal_scores_change_no_gradient_unless_released():
    ctx, batch = twins()
    before, after = modulated(build_method("ogm"), ctx, batch)
    assert same(before, after)
    ctx, batch = twins()
    before, after = modulated(build_method("ogm", mode="released"), ctx, batch)
    for name in before:
        factor = 1 - tanh(0.8) if name.startswith("encoders.a") else 1.0
        torch.testing.assert_close(after[name], factor * before[name])


def test_for_several_labels_the_score_is_the_mean_chance_of_the_truth():
    data = toy_data()
    ctx, batch = toy_context(data), toy_batch(data)
    labels = torch.rand(len(batch), 3, generator=torch.Generator().manual_seed(0)).round()
    batch, ctx.task = replace(batch, target=labels), MultiLabel(3)
    out = ctx.model(batch)
    chance = {m: torch.where(labels > 0, u, -u).sigmoid().mean() for m, u in out.unimodal.items()}
    ahead = max(chance, key=chance.get)
    rho = max(chance.values()) / min(chance.values())
    before, after = modulated(build_method("ogm"), ctx, batch)
    for name, gradient in before.items():
        factor = 1 - torch.tanh(0.8 * rho) if name.startswith(f"encoders.{ahead}") else 1.0
        torch.testing.assert_close(after[name], factor * gradient)


def test_a_modality_that_the_batch_lacks_keeps_no_gradient():
    data = toy_data()
    before, after = modulated(build_method("ogm"), toy_context(data), toy_batch(data).only("a"))
    for name, gradient in before.items():
        if name.startswith("encoders.b"):
            assert after[name] is None
        else:
            assert torch.equal(after[name], gradient)


def trained(method, **settings):
    data = toy_data(missing=0.3)
    model = toy_model(data)
    given = {"epochs": 3, "batch_size": 16, "lr": 0.05, "momentum": 0.9, **settings}
    fit(model, data, method, **given)
    return weights(model)


def test_alpha_zero_is_joint_training_to_the_bit():
    joint = trained("joint")
    assert same(trained(build_method("ogm", alpha=0.0)), joint)
    assert not same(trained(build_method("ogm", alpha=0.1)), joint)


def test_outside_of_its_epochs_it_is_joint_training():
    assert same(trained(build_method("ogm", start=3, end=9)), trained("joint"))
    assert not same(trained(build_method("ogm", start=2, end=2)), trained("joint"))
    method, ctx = build_method("ogm"), toy_context(epochs=100)
    acts = []
    for ctx.epoch in range(100):
        acts += [ctx.epoch] if method.active(ctx) else []
    assert acts == list(range(51))
    method = build_method("ogm", start=2, end=3)
    assert [e for ctx.epoch in range(9) for e in [ctx.epoch] if method.active(ctx)] == [2, 3]


def test_scope():
    encoder = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten(2), nn.Conv1d(2, 6, 4))
    model = MultimodalModel({"a": encoder}, Concat({"a": 6}, 3))
    conv, matrix, bias = encoder.parameters()
    for scope, chosen in {
        "all": [conv, matrix, bias],
        "matrices": [conv, matrix],
        "conv4d": [conv],
    }.items():
        found = build_method("ogm", scope=scope).in_scope(model, "a")
        assert [id(p) for p in found] == [id(p) for p in chosen]
    data = toy_data()
    before, after = modulated(
        build_method("ogm", scope="matrices"), toy_context(data), toy_batch(data)
    )
    changed = [k for k in before if not torch.equal(before[k], after[k])]
    assert changed and all(before[k].dim() >= 2 for k in changed)


def test_a_modality_s_own_head_is_no_part_of_its_encoder():
    data = toy_data()
    ctx = toy_context(data, toy_model(data, fusion="late"))
    before, after = modulated(build_method("ogm"), ctx, toy_batch(data))
    changed = {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}
    assert changed == {"encoders"}


def test_what_does_not_fit_is_refused_before_training():
    data = toy_data()
    with pytest.raises(InputError, match="scope='conv4d' finds no parameter"):
        build_method("ogm", scope="conv4d").check(toy_model(data), data.task)
    encoder = nn.Linear(4, 6)
    model = MultimodalModel({"a": encoder, "b": encoder}, Concat({"a": 6, "b": 6}, 3))
    with pytest.raises(InputError, match="share parameters"):
        build_method("ogm").check(model, data.task)
    with pytest.raises(InputError, match="unimodal=slice or ablate"):
        build_method("ogm").check(toy_model(data, unimodal="aux"), data.task)
    with pytest.raises(InputError, match="regression"):
        build_method("ogm").check(toy_model(data), toy_data(regression=True).task)
    for bad in (
        {"alpha": -1},
        {"onset": "soft"},
        {"start": 0.5},
        {"start": 3, "end": 2},
        {"scope": "conv"},
        {"mode": "code"},
    ):
        with pytest.raises(InputError, match=list(bad)[-1]):
            build_method("ogm", **bad)
