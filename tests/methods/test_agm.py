"""AGM: the gradient of each modality's Shapley share is scaled."""

from dataclasses import replace
from itertools import permutations
from math import exp

import pytest
import torch
from torch.nn import functional as F
from toy import gradients, linear_encoders, same, toy_batch, toy_context, toy_data, toy_model

from counterpoise import Concat, InputError, MultiLabel, MultimodalModel, build_method, fit
from counterpoise.core.coalitions import Coalitions
from counterpoise.methods.agm import LARGEST_LOSS, ahead, subset_logits

FUSIONS = ["concat", "sum", "late", "shared", "film", "gated"]


def start(data, fusion="concat", **options):
    policy = "ablate" if fusion in ("film", "gated") else "slice"
    ctx = toy_context(data, toy_model(data, fusion=fusion, unimodal=policy))
    method = build_method("agm", **options)
    method.setup(ctx)
    return method, ctx


def run(method, ctx, batch):
    """Gradients after backward, and after ``modulate``."""
    ctx.optimizer.zero_grad()
    batch = method.transform(batch, ctx)
    out = ctx.model(batch)
    method.backward(method.losses(out, batch, ctx), ctx)
    before = gradients(ctx.model)
    method.modulate(out, batch, ctx)
    return before, gradients(ctx.model)


def shares_of(ctx, batch):
    """[M, B, K], and the output."""
    batch = replace(batch, features=ctx.model.encode(batch))
    out = ctx.model(batch)
    coalitions = Coalitions.all(len(ctx.model.modalities))
    logits = subset_logits(ctx.model, out, batch, ctx.model.modalities, coalitions.subsets)
    return coalitions.shapley(logits), out


def close(left, right):
    for name, gradient in left.items():
        assert (gradient is None) == (right[name] is None)
        if gradient is not None:
            torch.testing.assert_close(gradient, right[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("count", [2, 3])
def test_shares_are_shapley_values_of_what_each_sample_has(count, missing, fusion):
    data = toy_data(count, missing=missing)
    _, ctx = start(data, fusion)
    batch = toy_batch(data, 12)
    shares, out = shares_of(ctx, batch)
    torch.testing.assert_close(shares.sum(0), out.logits, atol=1e-5, rtol=1e-5)
    for i in range(len(batch)):
        one = data.train[torch.tensor([i])]
        here = [m for m in data.modalities if batch.present[m][i]]
        wanted = dict.fromkeys(data.modalities, torch.zeros(3))
        orders = list(permutations(here))
        for order in orders:
            value = torch.zeros(3)
            for k, m in enumerate(order):
                joined = ctx.model(one.only(*order[: k + 1])).logits[0]
                wanted[m] = wanted[m] + (joined - value) / len(orders)
                value = joined
        torch.testing.assert_close(
            shares[:, i], torch.stack(list(wanted.values())), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("count", [2, 3])
def test_alpha_zero_has_the_gradients_of_joint_training(count, missing, fusion):
    data = toy_data(count, missing=missing)
    batch = toy_batch(data, 24)
    for part in (batch, batch.only("b")):
        method, ctx = start(data, fusion, alpha=0.0, clip=None)
        _, mine = run(method, ctx, part)
        close(mine, run(build_method("joint"), ctx, part)[1])


def test_alpha_zero_trains_as_joint_training():
    data, finals = toy_data(missing=0.3), []
    for method in ("joint", build_method("agm", alpha=0.0, clip=None), "agm"):
        model = toy_model(data)
        fit(model, data, method, epochs=2, batch_size=16, lr=0.05)
        finals.append(model.state_dict())
    for name, tensor in finals[0].items():
        torch.testing.assert_close(finals[1][name], tensor, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(finals[2]["fusion.head.weight"], finals[0]["fusion.head.weight"])


def kappa_by_hand(sigma, tau, alpha, cap):
    def r(x):
        return [exp((sum(x) - one) / (len(x) - 1) - one) for one in x]

    return [exp(alpha * min(b - a, cap)) for a, b in zip(r(sigma), r(tau), strict=True)]


@pytest.mark.parametrize("momentum", [None, 0.9])
@pytest.mark.parametrize("count", [2, 3])
def test_the_factors_of_several_steps(count, momentum):
    method, _ = start(toy_data(count), alpha=1.5, cap=0.5, momentum=momentum)
    everyone, tau, capped = list(range(count)), None, 0
    for t in range(6):
        sigma = torch.rand(count, generator=torch.Generator().manual_seed(t)).tolist()
        tau = sigma if tau is None else tau
        wanted = kappa_by_hand(sigma, tau, 1.5, 0.5)
        found = method.factors(torch.tensor(sigma), everyone)
        assert found.tolist() == pytest.approx(wanted, rel=1e-4)
        capped += max(wanted) == exp(0.75)
        past = t / (t + 1) if momentum is None else momentum
        tau = [past * a + (1 - past) * b for a, b in zip(tau, sigma, strict=True)]
        assert method.tau.tolist() == pytest.approx(tau)
    assert capped and method.steps.tolist() == [6] * count
    method, _ = start(toy_data(), cap=None)
    method.factors(torch.tensor([0.0, 3.0]), [0, 1])
    found = method.factors(torch.tensor([3.0, 0.0]), [0, 1])
    assert found[0].item() == pytest.approx(exp(exp(3) - exp(-3)), rel=1e-3)


def test_factors_are_one_where_nothing_differs_from_the_average():
    method, _ = start(toy_data(3))
    for sigma in ([0.2, 0.9, 0.5],) * 3:  # sigma = tau
        assert torch.allclose(method.factors(torch.tensor(sigma), [0, 1, 2]), torch.ones(3))
    method.setup(start(toy_data(3))[1])
    for sigma in (0.9, 0.5, 0.1):  # alike
        assert torch.allclose(method.factors(torch.full((3,), sigma), [0, 1, 2]), torch.ones(3))
    two = ahead(torch.tensor([0.3, 1.1]))
    assert two.exp().prod().item() == pytest.approx(1)
    assert two.tolist() == pytest.approx([0.8, -0.8])
    assert ahead(torch.tensor([0.3])).tolist() == [0]


def test_those_that_do_better_than_usual_are_damped():
    method, _ = start(toy_data())
    method.factors(torch.tensor([1.0, 1.0]), [0, 1])
    factors = method.factors(torch.tensor([0.5, 1.5]), [0, 1]).tolist()
    assert factors == pytest.approx([exp(1 - exp(1)), exp(1 - exp(-1))])


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_encoders_of_a_concat_head_are_scaled_by_their_factor(missing):
    data = toy_data(3, missing=missing)
    method, ctx = start(data, clip=None)
    method.tau.copy_(torch.tensor([0.2, 2.0, 1.0]))
    method.steps.fill_(3)
    batch = toy_batch(data, 24)
    shares, _ = shares_of(ctx, batch)
    rows = batch.present.values()
    sigma = [
        F.cross_entropy(v[r], batch.target[r]).item() for v, r in zip(shares, rows, strict=True)
    ]
    kappa = kappa_by_hand(sigma, [0.2, 2.0, 1.0], 1.0, 10)
    joint, _ = run(build_method("joint"), ctx, batch)
    mine, _ = run(method, ctx, batch)
    for k, m in enumerate(data.modalities):
        for name in joint:
            if name.startswith(f"encoders.{m}."):
                torch.testing.assert_close(mine[name], kappa[k] * joint[name])
    assert method.tau.tolist() == pytest.approx(
        [0.75 * t + 0.25 * s for t, s in zip([0.2, 2.0, 1.0], sigma, strict=True)]
    )


def test_a_modality_that_the_batch_lacks_is_neither_compared_nor_averaged():
    data = toy_data(3)
    for fusion in ("concat", "late"):
        method, ctx = start(data, fusion, clip=None)
        batch = toy_batch(data)
        after, _ = run(method, ctx, batch.only("a", "c"))
        assert all(g is None for k, g in after.items() if ".b." in k)
        assert method.steps.tolist() == [1, 0, 1] and method.tau[1] == 0
        run(method, ctx, batch)
        assert method.steps.tolist() == [2, 1, 2] and method.tau[1] > 0
        part, joint = batch.only("a"), build_method("joint")
        close(run(method, ctx, part)[0], run(joint, ctx, part)[0])


@pytest.mark.parametrize("part", [0.9, 1.1])
def test_the_clip(part):
    """The whole is scaled only if an entry of the head exceeds the limit, not by its norm alone."""
    data = toy_data()
    method, ctx = start(data, clip=None, alpha=0.0)
    batch = toy_batch(data)
    before, after = run(method, ctx, batch)
    assert same(before, after)
    largest = max(g.abs().max() for k, g in before.items() if k.startswith("fusion"))
    norm = torch.cat([g.flatten() for g in before.values()]).norm()
    method.clip = part * largest.item()
    assert norm > method.clip
    _, after = run(method, ctx, batch)
    factor = method.clip / norm if part < 1 else 1.0
    close({name: factor * gradient for name, gradient in before.items()}, after)


def test_a_hopeless_share_counts_no_more_than_the_floor():
    data = toy_data()
    method, ctx = start(data)
    batch = toy_batch(data)
    batch = replace(batch, inputs={m: x * 1e4 for m, x in batch.inputs.items()})
    shares, _ = shares_of(ctx, batch)
    losses = [F.cross_entropy(v, batch.target, reduction="none") for v in shares]
    assert max(x.max() for x in losses) > LARGEST_LOSS == pytest.approx(18.42068)
    run(method, ctx, batch)
    wanted = [x.clamp(max=18.42068).mean().item() for x in losses]
    assert method.tau.tolist() == pytest.approx(wanted, rel=1e-4)


def test_smaller_subsets_run_the_fusion_in_evaluation_mode():
    modes = []

    class Watched(Concat):
        def logits(self, features, present, shares):
            modes.append(self.training)
            return super().logits(features, present, shares)

    model = MultimodalModel(linear_encoders(toy_data()), Watched({"a": 6, "b": 6}, 3))
    ctx, method = toy_context(model=model), build_method("agm")
    method.setup(ctx)
    method.step(toy_batch(toy_data()), ctx)
    assert modes == [True, False, False] and model.fusion.training


def test_several_labels():
    data = toy_data()
    method, ctx = start(data)
    ctx.task, batch = MultiLabel(3), toy_batch(data)
    batch = replace(batch, target=torch.eye(3)[batch.target])
    shares, _ = shares_of(ctx, batch)
    run(method, ctx, batch)
    wanted = [F.binary_cross_entropy_with_logits(v, batch.target).item() for v in shares]
    assert method.tau.tolist() == pytest.approx(wanted)


def test_what_does_not_fit_is_refused():
    data = toy_data()
    with pytest.raises(InputError, match="regression"):
        build_method("agm").check(toy_model(data), toy_data(regression=True).task)
    for bad in ({"alpha": -1}, {"cap": -1}, {"clip": 0}, {"momentum": 1.5}):
        with pytest.raises(InputError, match=next(iter(bad))):
            build_method("agm", **bad)
