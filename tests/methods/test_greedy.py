"""Greedy: gated branches, and curation of the one that learns to use the others fastest."""

import copy
import math
from itertools import groupby

import pytest
import torch
from torch.nn import functional as F
from toy import linear_encoders, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import MMTM, InputError, MultimodalModel, build_method, fit
from counterpoise.methods.greedy import lead, speed


def greedy(ctx=None, **options):
    method = build_method("greedy", **options)
    if ctx is not None:
        method.setup(ctx)
    return method


def by_hand(fusion, z, present, held=()):
    """Branch logits of each modality, as in the paper."""
    means = torch.split(fusion.feature_mean, list(fusion.widths.values()))
    inputs = [
        torch.stack([z[m][i] if present[m][i] else means[k] for i in range(len(z[m]))])
        for k, m in enumerate(fusion.widths)
    ]
    q = F.relu(fusion.squeeze(torch.cat(inputs, 1)))
    gates = {m: torch.sigmoid(fusion.excitations[m](q)) for m in fusion.widths}
    for k, m in enumerate(fusion.widths):
        if m in held:
            gates[m] = torch.split(fusion.gate_mean, list(fusion.widths.values()))[k]
    return {m: fusion.heads[m](z[m] * gates[m]) for m in fusion.widths}


def filled(data, seed=0):
    """A model whose running means are not zero."""
    model = toy_model(data, "greedy")
    generator = torch.Generator().manual_seed(seed)
    for mean in (model.fusion.gate_mean, model.fusion.feature_mean):
        mean.copy_(torch.rand(mean.shape, generator=generator))
    return model


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("held", [None, "b"])
def test_branches_are_gated_by_all(modalities, missing, held):
    data = toy_data(modalities, missing=missing)
    model, batch = filled(data), toy_batch(data)
    model.fusion.held = held
    out = model(batch)
    wanted = by_hand(model.fusion, out.features, batch.present, (held,))
    for name, mask in batch.present.items():
        torch.testing.assert_close(out.unimodal[name][mask], wanted[name][mask])
    for i in range(len(batch)):
        here = [wanted[m][i] for m in data.modalities if batch.present[m][i]]
        torch.testing.assert_close(out.logits[i], torch.stack(here).mean(0))
    plain = by_hand(model.fusion, out.features, batch.present)
    for name, logits in model.eval()(batch).unimodal.items():  # nothing is held in evaluation
        mask = batch.present[name]
        torch.testing.assert_close(logits[mask], plain[name][mask])


def test_the_squeeze_is_half_as_wide_as_what_it_squeezes():
    assert toy_model(toy_data(3), "greedy").fusion.squeeze.weight.shape == (12, 24)
    assert MMTM({"a": 2, "b": 4}, 3, ratio=6).squeeze.weight.shape == (2, 6)
    with pytest.raises(InputError, match="ratio must be a whole number from 1"):
        MMTM({"a": 2}, 3, ratio=0)


def test_a_running_mean_of_constants_is_the_constant():
    fusion = MMTM({"a": 2, "b": 3}, 4)
    gate, feature = torch.rand(3), torch.rand(3)
    for _ in range(4):
        fusion.track("b", gate, feature)
    fusion.track("a", torch.ones(2), torch.zeros(2))
    fusion.track("a", torch.zeros(2), torch.ones(2))
    torch.testing.assert_close(fusion.gate_mean, torch.cat([torch.full((2,), 0.5), gate]))
    torch.testing.assert_close(fusion.feature_mean, torch.cat([torch.full((2,), 0.5), feature]))
    assert fusion.tracked.tolist() == [2, 4]


def test_own_parts_serve_one_branch():
    fusion = toy_model(toy_data(3), "greedy").fusion
    assert list(fusion.own("b")) == [fusion.excitations["b"], fusion.heads["b"]]


def test_speed_is_gradient_over_weight():
    p, q, frozen = (torch.nn.Parameter(torch.tensor(x)) for x in ([3.0, 4.0], [2.0], [9.0]))
    p.grad, q.grad = torch.tensor([1.0, 2.0]), torch.tensor([3.0])
    torch.testing.assert_close(speed([p, q, frozen]), torch.tensor((1 + 4 + 9) / (9 + 16 + 4)))
    assert speed([frozen]) == 0
    before = lead(speed([p]).expand(2), torch.ones(2))
    p.grad *= 10
    after = lead(torch.stack([speed([p]), torch.tensor(5 / 25)]), torch.ones(2))
    torch.testing.assert_close(after - before, torch.tensor([2.0, -2.0]))  # 2 log10 c


def test_lead_is_over_the_mean_of_the_others():
    x = lead(torch.tensor([10.0, 1.0]), torch.tensor([1.0, 100.0]))
    torch.testing.assert_close(x, torch.tensor([3.0, -3.0]))
    x = lead(torch.tensor([10.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 100.0]))
    torch.testing.assert_close(x, torch.tensor([2.0, 0.5, -2.5]))
    x = lead(torch.tensor([10.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0]))
    assert x.tolist() == [1, -1, -math.inf]
    assert lead(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0]))[0] == -math.inf


def epochs(method, ctx, number):
    """Train; what was held in each step, and the BDR sums and means after it."""
    held, speeds, means = [], [], []
    ctx.model.fusion.register_forward_hook(lambda fusion, *_: held.append(fusion.held))
    for epoch in range(number):
        ctx.epoch = epoch
        for k, batch in enumerate(ctx.loaders["train"].epoch(epoch)):
            ctx.batch = k
            method.step(batch, ctx)
            speeds.append(method.speeds.clone())
            means.append(weights(ctx.model.fusion)["gate_mean"])
    return held, speeds, means


@pytest.mark.parametrize("modalities", [2, 3])
def test_curation_lasts_its_steps_and_changes_no_statistic(modalities):
    data = toy_data(modalities)
    ctx = toy_context(data, method="greedy", batch_size=8, lr=0.01)
    method = greedy(ctx, margin=0.0, steps=3)
    held, speeds, means = epochs(method, ctx, 3)
    assert held[:9] == [None] * 9  # the warm-up, 72 samples
    runs = [(name, len(list(group))) for name, group in groupby(held[9:])]
    assert runs[0] == (None, 1)
    assert all(n == (1 if name is None else 3) for name, n in runs[:-1])
    for k in range(1, len(held)):
        assert torch.equal(speeds[k], speeds[k - 1]) == (held[k] is not None)
        assert torch.equal(means[k], means[k - 1]) == (held[k] is not None)
        if held[k] is not None and held[k - 1] is None:
            ratio = (speeds[k - 1][0] / speeds[k - 1][1]).log10()
            assert held[k] == data.modalities[int(ratio.argmax())]


def test_a_regular_step_adds_gradient_over_weight_and_the_means():
    data = toy_data(3, missing=0.4)
    ctx, batch = toy_context(data, method="greedy"), toy_batch(data)
    method, model = greedy(ctx), copy.deepcopy(ctx.model)
    fusion, out = model.fusion, model(batch)
    z, present = out.features, batch.present
    logits = by_hand(fusion, z, present)
    losses = [F.cross_entropy(logits[m][x], batch.target[x]) for m, x in present.items()]
    shown = method.step(batch, ctx)
    torch.testing.assert_close(list(shown.values()), [x.detach() for x in losses])
    assert list(shown) == ["a alone", "b alone", "c alone"]
    sum(losses).backward()
    for k, name in enumerate(data.modalities):
        bypass = [fusion.squeeze, fusion.excitations[name]]
        for g, modules in enumerate((bypass, [model.encoders[name], fusion.heads[name]])):
            parameters = [p for module in modules for p in module.parameters()]
            top = sum(p.grad.square().sum() for p in parameters)
            wanted = top / sum(p.detach().square().sum() for p in parameters)
            torch.testing.assert_close(method.speeds[g, k], wanted, rtol=1e-4, atol=0)
    gates = fusion.gates(z, present)
    for values, mean in ((z, "feature_mean"), (gates, "gate_mean")):
        wanted = torch.cat([values[m][present[m]].mean(0) for m in data.modalities])
        torch.testing.assert_close(getattr(ctx.model.fusion, mean), wanted.detach())


def test_speeds_add_up():
    data = toy_data()
    ctx, batch = toy_context(data, method="greedy", lr=0.0), toy_batch(data)
    method = greedy(ctx)
    method.step(batch, ctx)
    once = method.speeds.clone()
    method.step(batch, ctx)
    torch.testing.assert_close(method.speeds, 2 * once, rtol=1e-4, atol=0)


def test_in_curation_the_excitation_layer_stays_and_the_rest_learns():
    ctx, batch = toy_context(toy_data(3), method="greedy"), toy_batch(toy_data(3))
    method = greedy(ctx, warm_up=0)
    method.step(batch, ctx)  # momentum for all
    method.curation.copy_(torch.tensor([1, 1]))
    before = weights(ctx.model)
    method.step(batch, ctx)
    stays = {k for k, p in ctx.model.named_parameters() if torch.equal(p, before[k])}
    assert stays == {"fusion.excitations.b.weight", "fusion.excitations.b.bias"}
    assert ctx.model.fusion.held is None and method.curation[1] == 0


def test_equal_modalities_are_never_curated():
    data = toy_data()
    data.train.inputs["b"] = data.train.inputs["a"]
    encoders = linear_encoders(toy_data(1))
    model = MultimodalModel(
        {"a": encoders["a"], "b": torch.nn.Linear(4, 6)}, MMTM({"a": 6, "b": 6}, 3)
    )
    fusion = model.fusion
    for part in (model.encoders, fusion.excitations, fusion.heads):
        part["b"].load_state_dict(part["a"].state_dict())
    with torch.no_grad():
        fusion.squeeze.weight[:, 6:] = fusion.squeeze.weight[:, :6]
    ctx = toy_context(data, model, lr=0.01)
    held, speeds, _ = epochs(greedy(ctx, margin=1e-4, warm_up=0), ctx, 3)
    assert set(held) == {None}
    torch.testing.assert_close(speeds[-1][:, 0], speeds[-1][:, 1])


def test_without_curation_it_is_the_sum_of_the_branches():
    data, settings = toy_data(3, missing=0.3), {"epochs": 3, "batch_size": 16, "lr": 0.05}
    model, other = (toy_model(data, "greedy") for _ in range(2))
    fit(model, data, greedy(margin=1e30), **settings)
    fit(other, data, greedy(warm_up=3), **settings)
    assert same(weights(model), weights(other))


def test_random_curation_takes_all_choices_alike_and_decides_nothing():
    data = toy_data(2)
    ctx = toy_context(data, method="greedy", batch_size=2, lr=0.01)
    method = greedy(ctx, choice="random")
    held, _, _ = epochs(method, ctx, 12)
    assert held[:36] == [None] * 36
    share = len(held[36:]) / 3
    assert [held[36:].count(x) for x in (None, "a", "b")] == pytest.approx([share] * 3, rel=0.2)
    assert not method.curation.any()


def test_what_no_sample_of_the_batch_has_rests():
    data = toy_data()
    ctx, batch = toy_context(data, method="greedy"), toy_batch(data)
    method = greedy(ctx)
    assert list(method.step(batch.only("a"), ctx)) == ["a alone"]
    assert not method.speeds[:, 1].any() and method.speeds[:, 0].all()
    assert ctx.model.fusion.tracked.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -1}, "margin must be a number from 0"),
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"warm_up": 0.5}, "warm_up must be a whole number from 0"),
        ({"choice": "rand"}, "unknown value for choice 'rand'"),
    ],
)
def test_errors(options, message):
    with pytest.raises(InputError, match=message):
        greedy(**options)
    with pytest.raises(InputError, match="trains a MMTM fusion, found Concat"):
        fit(toy_model(toy_data()), toy_data(), "greedy")
