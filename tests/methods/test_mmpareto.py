"""MMPareto: fused and unimodal gradients of each encoder, combined without conflict."""

import math

import pytest
import torch
from torch.nn import functional as F
from toy import gradients, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, build_method, fit
from counterpoise.methods import Joint, MultiLoss, mmpareto

SCOPES = pytest.mark.parametrize("mode", ["paper", "released"])


def combine(pairs, mode="paper"):
    """Of copies, since the gradients are used up."""
    return mmpareto.combine([(j.clone(), u.clone()) for j, u in pairs], mode)


def vector(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def by_hand(first, second, mode):
    """The published rule in plain numbers; gradients as lists of tensors."""
    j, u = torch.cat([g.flatten() for g in first]), torch.cat([g.flatten() for g in second])
    jj, uu, ju = float(j @ j), float(u @ u), float(j @ u)
    a = 0.5 if ju > 0 or jj == 0 or uu == 0 else (uu - ju) / (jj + uu - 2 * ju)
    mixed = [2 * a * x + 2 * (1 - a) * y for x, y in zip(first, second, strict=True)]
    plain = [x + y for x, y in zip(first, second, strict=True)]

    def length(parts):
        return math.sqrt(sum(float(g.square().sum()) for g in parts))

    if mode == "paper":
        factor = max(1.0, length(plain) / length(mixed))
        return [factor * h for h in mixed]
    return [max(1.0, length([s]) / length([h])) * h for s, h in zip(plain, mixed, strict=True)]


@SCOPES
def test_orthogonal_gradients(mode):
    """Lengths 2 and 1: a = 1/5, h of squared length 3.2, made as long as the sum, sqrt 5."""
    (found,) = combine([(vector(2, 0), vector(0, 1))], mode)
    h = 2 * (0.2 * vector(2, 0) + 0.8 * vector(0, 1))
    assert float(h @ h) == pytest.approx(3.2)
    assert float(h @ vector(2, 0)) == pytest.approx(float(h @ vector(0, 1)))
    torch.testing.assert_close(found, h * math.sqrt(5 / 3.2))


@SCOPES
def test_gradients_that_agree_are_summed(mode):
    pair = (vector(1, 2), vector(3, 1))
    torch.testing.assert_close(combine([pair], mode)[0], vector(4, 3))
    torch.testing.assert_close(combine([(pair[0], pair[0])], mode)[0], vector(2, 4))


@SCOPES
def test_one_zero_gradient_is_no_conflict(mode):
    zero, other = vector(0, 0), vector(3, -1)
    assert torch.equal(combine([(zero, other)], mode)[0], other)
    assert torch.equal(combine([(other, zero)], mode)[0], other)
    assert torch.equal(combine([(zero, zero)], mode)[0], zero)


@SCOPES
@pytest.mark.parametrize("factor", [1.0, 2.0, 0.3])
def test_opposite_gradients_stop_the_encoder(mode, factor):
    g = torch.randn(50, generator=torch.Generator().manual_seed(0))
    (found,) = combine([(g, -factor * g)], mode)
    assert found.norm() < 1e-5 * g.norm()


def test_it_never_ascends_either_loss():
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        j, u = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        (h,) = combine([(j, u)])
        assert h @ j >= -1e-9
        assert h @ u >= -1e-9
        assert h.norm() >= (j + u).norm() - 1e-9


def test_per_tensor_lengths_change_the_direction():
    first = [vector(1), vector(4, 1), vector(4)]
    second = [vector(1), vector(-8, 1), vector(-1)]  # the last one is longer combined than summed
    pairs = list(zip(first, second, strict=True))
    whole, each = (combine(pairs, mode) for mode in ("paper", "released"))
    for found, mode in ((whole, "paper"), (each, "released")):
        for g, wanted in zip(found, by_hand(first, second, mode), strict=True):
            torch.testing.assert_close(g, wanted)
    assert F.cosine_similarity(torch.cat(whole), torch.cat(each), dim=0) < 0.98


@SCOPES
@pytest.mark.parametrize(("modalities", "missing"), [(2, 0.0), (3, 0.4)])
def test_gradients_of_a_step(mode, modalities, missing):
    """Encoders by the rule, on their own two losses; heads the plain sum."""
    data = toy_data(modalities, missing=missing)
    method = build_method("mmpareto", gamma=1.3, mode=mode)
    ctx, batch = toy_context(data, method=method), toy_batch(data)
    for name in data.modalities:  # heads that disagree: conflicts
        ctx.model.fusion.aux[name].weight.data.copy_(-2 * ctx.model.fusion.slices()[name])
    out = ctx.model(batch)
    fused = F.cross_entropy(out.logits, batch.target)
    conflicts = []
    wanted = {}
    total = fused
    for name, mask in batch.present.items():
        own = F.cross_entropy(out.unimodal[name][mask], batch.target[mask])
        parameters = ctx.model.encoder_parameters(name)
        j = torch.autograd.grad(fused, parameters, retain_graph=True)
        u = torch.autograd.grad(own, parameters, retain_graph=True)
        conflicts.append(sum(float((x * y).sum()) for x, y in zip(j, u, strict=True)) <= 0)
        wanted |= {p: 1.3 * g for p, g in zip(parameters, by_hand(j, u, mode), strict=True)}
        total = total + own
    heads = list(ctx.model.fusion.parameters())
    wanted |= dict(zip(heads, torch.autograd.grad(total, heads, retain_graph=True), strict=True))
    assert any(conflicts)
    method.backward(method.losses(out, batch, ctx), ctx)
    for p in ctx.model.parameters():
        torch.testing.assert_close(p.grad, wanted[p], rtol=1e-4, atol=1e-6)


def test_without_conflict_and_with_gamma_one_it_is_multi_loss():
    """Heads that start as the fused one's parts: gradients agree all the way."""
    data = toy_data(missing=0.3)
    runs = {}
    for name, options in (("mmpareto", {"gamma": 1.0}), ("multi-loss", {})):
        model = toy_model(data, name)
        for m in data.modalities:
            model.fusion.aux[m].weight.data.copy_(model.fusion.slices()[m].detach())
        fit(model, data, build_method(name, **options), epochs=2, batch_size=16, lr=0.05)
        runs[name] = weights(model)
    for key, value in runs["multi-loss"].items():
        torch.testing.assert_close(runs["mmpareto"][key], value, rtol=1e-4, atol=1e-5)


def test_an_encoder_nobody_needs_is_left_alone():
    data = toy_data()
    method = build_method("mmpareto")
    ctx, batch = toy_context(data, method=method), toy_batch(data).only("a")
    method.backward(method.losses(ctx.model(batch), batch, ctx), ctx)
    found = gradients(ctx.model)
    assert all(p.grad is None for p in ctx.model.own_parameters("b"))
    assert all(bool(g.isfinite().all()) for g in found.values() if g is not None)
    assert all(p.grad is not None for p in ctx.model.own_parameters("a"))


def test_one_backward_for_each_kind_of_loss():
    data = toy_data(3)
    method = build_method("mmpareto")
    ctx, batch = toy_context(data, method=method), toy_batch(data)
    calls = []
    real = ctx.gradients
    ctx.gradients = lambda *args, **kwargs: (calls.append(1), real(*args, **kwargs))[1]
    method.step(batch, ctx)
    assert len(calls) == 2
    assert method.passes == (1, 2)


def test_defaults_and_prediction():
    method = build_method("mmpareto")
    assert (method.gamma, method.mode) == (1.5, "paper")
    assert type(method).predict is MultiLoss.predict is not Joint.predict


@pytest.mark.parametrize("options", [{"gamma": -1.0}, {"mode": "layer"}])
def test_bad_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        build_method("mmpareto", **options)
