"""LFM: class loss and alignment loss, with a weight that is learned or scheduled."""

import copy
import math
from itertools import combinations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy import linear_encoders, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, MultiLabel, build_method, fit
from counterpoise.methods.lfm import _predict_chances, released_slope, validation_slope


@pytest.fixture
def precise(monkeypatch):
    """Double precision throughout: the model casts features by ``float()``."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def doubled(data, ctx):
    ctx.model.double()
    for split in (data.train, data.validation):
        split.inputs.update({m: x.double() for m, x in split.inputs.items()})


def ready(data, **options):
    """A method after setup, and its context."""
    method = build_method("lfm", **options)
    ctx = toy_context(data, method=method, momentum=0.0, weight_decay=0.0)
    method.setup(ctx)
    return method, ctx


def contrastive(a, b, temperature):
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    closeness, own = a @ b.T / temperature, torch.arange(len(a))
    return (F.cross_entropy(closeness, own) + F.cross_entropy(closeness.T, own)) / 2


def divergence(u, v, swapped=False):
    p, q = u.softmax(1), v.softmax(1)
    m = (p + q) / 2
    kl = [(m * (m / x).log() if swapped else x * (x / m).log()).sum(1) for x in (p, q)]
    return (kl[0] + kl[1]).mean() / 2


@pytest.mark.parametrize(("modalities", "missing"), [(2, 0.0), (3, 0.4)])
@pytest.mark.parametrize("alignment", ["contrastive", "js", "released"])
@pytest.mark.parametrize("alpha", [0.95, 0.3])
def test_losses(modalities, missing, alignment, alpha):
    data = toy_data(modalities, missing=missing)
    options = {"mode": "released"} if alignment == "released" else {"alignment": alignment}
    method, ctx = ready(data, alpha=alpha, temperature=0.2, **options)
    batch = toy_batch(data)
    out = ctx.model(batch)
    each = []
    for m, k in combinations(data.modalities, 2):
        both = batch.present[m] & batch.present[k]
        if alignment == "contrastive":
            each.append(contrastive(out.features[m][both], out.features[k][both], 0.2))
        else:
            pair = (out.unimodal[name][both] for name in (m, k))
            each.append(divergence(*pair, swapped=alignment == "released"))
    losses = method.losses(out, batch, ctx)
    fused = F.cross_entropy(out.logits, batch.target)
    torch.testing.assert_close(losses["fused"], 2 * (1 - alpha) * fused)
    torch.testing.assert_close(losses["alignment"], 2 * alpha * sum(each) / len(each))


def test_several_labels_are_compared_one_by_one():
    logits = torch.randn(5, 3)
    chances = _predict_chances(logits, MultiLabel(3))
    torch.testing.assert_close(chances[..., 0].exp(), logits.sigmoid())
    torch.testing.assert_close(chances.exp().sum(-1), torch.ones(5, 3))


def test_samples_of_one_modality_are_not_aligned():
    data = toy_data()
    for alignment in ("contrastive", "js"):
        method, ctx = ready(data, alignment=alignment)
        batch = toy_batch(data).only("a")
        losses = method.losses(ctx.model(batch), batch, ctx)
        assert list(losses) == ["fused"]
        method.backward(losses, ctx)
        assert all(p.grad is None for p in ctx.model.encoder_parameters("b"))


@pytest.mark.parametrize("alignment", ["contrastive", "js"])
@pytest.mark.parametrize(("modalities", "missing"), [(2, 0.0), (3, 0.4)])
def test_the_slope_is_the_derivative(precise, alignment, modalities, missing):
    """Against finite differences of the validation loss after the step, in double precision."""
    data = toy_data(modalities, missing=missing)
    method, ctx = ready(data, alignment=alignment, temperature=0.3)
    doubled(data, ctx)
    ctx.optimizer.param_groups[0]["lr"] = 0.3
    ctx.scale_lr(ctx.model.encoder_parameters("a"), 0.5)  # each parameter by its own rate
    ctx.epoch = 2
    method.alignment_weight = torch.tensor(0.6, dtype=torch.float64)
    before = weights(ctx.model)
    found = validation_slope(ctx, method.parts, method.alignment_weight)
    assert same(weights(ctx.model), before)
    assert ctx.model.training

    def after(alpha):
        model = copy.deepcopy(ctx.model)
        batch = next(iter(ctx.loaders["train"].epoch(2)))
        fitted, aligned = method.parts(model(batch), batch, ctx)
        (2 * ((1 - alpha) * fitted + alpha * aligned)).backward()
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.grad is not None:
                    p -= (0.15 if name.startswith("encoders.a.") else 0.3) * p.grad
            whole = data.validation[torch.arange(len(data.validation))]
            return float(F.cross_entropy(model(whole).logits, whole.target))

    wanted = (after(0.6 + 1e-5) - after(0.6 - 1e-5)) / 2e-5
    assert abs(wanted) > 1e-3
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_equal_losses_leave_alpha_and_helpful_ones_raise_it():
    data = toy_data()
    method, ctx = ready(data)
    weight = method.alignment_weight

    def loss(out, batch, context):
        return context.loss(out.logits, batch)

    def twice(out, batch, context):  # both losses the same: alpha does not matter
        return loss(out, batch, context), loss(out, batch, context)

    def helpful(out, batch, context):  # only the alignment lowers the validation loss
        return 0 * loss(out, batch, context), loss(out, batch, context)

    assert abs(float(validation_slope(ctx, twice, weight))) < 1e-6
    assert float(validation_slope(ctx, helpful, weight)) < 0
    assert float(validation_slope(ctx, lambda *a: (loss(*a), None), weight)) == 0


def test_the_published_slope(precise):
    """A Hessian-vector product, here by finite differences of the gradient."""
    data = toy_data()
    method, ctx = ready(data, mode="released")
    doubled(data, ctx)
    weight = torch.tensor(0.4, dtype=torch.float64)
    found = released_slope(ctx, method.parts, weight)
    batch = data.validation[torch.arange(8)]

    def gradients(model):
        out = model(batch)
        fitted = F.cross_entropy(out.logits, batch.target)
        total = 0.6 * fitted + 0.4 * divergence(*out.unimodal.values(), swapped=True)
        every = list(model.parameters())
        return [torch.autograd.grad(x, every, retain_graph=True) for x in (fitted, total)]

    vector, sides = gradients(ctx.model)[0], []
    for sign in (1, -1):
        model = copy.deepcopy(ctx.model)
        for p, v in zip(model.parameters(), vector, strict=True):
            p.data += sign * 1e-5 * v
        sides.append(gradients(model)[1][0])
    wanted = ((sides[0] - sides[1]) / 2e-5).mean()
    assert abs(wanted) > 1e-5
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=0)


@pytest.mark.parametrize("slope", [validation_slope, released_slope])
def test_slopes_are_taken_in_evaluation_mode(slope):
    data = toy_data()
    dropout = {m: nn.Sequential(e, nn.Dropout()) for m, e in linear_encoders(data).items()}
    ctx, method = toy_context(data, toy_model(data, "lfm", encoders=dropout)), build_method("lfm")
    found = [slope(ctx, method.parts, torch.tensor(0.5)) for _ in range(2)]
    assert ctx.model.training
    assert torch.equal(*found)
    assert bool(found[0] != 0)


@pytest.mark.parametrize(
    ("slope", "epoch", "options", "wanted"),
    [
        (0.1, 0, {}, 0.4),
        (0.1, 20, {}, 0.45),
        (0.1, 59, {"alpha_lr": 2.0}, 0.45),
        (-9.0, 0, {}, 0.95),
        (9.0, 0, {}, 0.05),
        (100.0, 0, {"mode": "released"}, 0.49),
        (9.0, 0, {"alpha_lr": 0.0}, 0.5),
        (9.0, 0, {"schedule": "heuristic"}, 1 - math.exp(-1)),
        (9.0, 9, {"schedule": "heuristic"}, 1 - math.exp(-0.1)),
    ],
)
def test_how_alpha_moves(monkeypatch, slope, epoch, options, wanted):
    method, ctx = ready(toy_data(), alpha=0.5, **options)
    name = "released_slope" if "mode" in options else "validation_slope"
    monkeypatch.setattr(f"counterpoise.methods.lfm.{name}", lambda *_: torch.tensor(slope))
    ctx.epoch = epoch
    method.epoch_start(ctx)
    assert float(method.alignment_weight) == pytest.approx(wanted)


def test_without_alignment_it_is_joint_training_at_twice_the_rate():
    data = toy_data(missing=0.3)
    model, joint = toy_model(data, "lfm"), toy_model(data, fusion="late")
    settings = {"epochs": 2, "batch_size": 16, "weight_decay": 0.0}
    fit(model, data, build_method("lfm", alpha=0.0, alpha_lr=0.0), lr=0.02, **settings)
    fit(joint, data, "joint", lr=0.04, **settings)
    for key, value in weights(joint).items():
        torch.testing.assert_close(weights(model)[key], value, rtol=1e-4, atol=1e-5)


def test_what_it_cannot_compare_is_refused():
    data = toy_data()
    model = toy_model(data, "lfm", encoders=linear_encoders(data) | {"b": nn.Linear(5, 4)})
    with pytest.raises(InputError, match="one width"):
        fit(model, data, "lfm", epochs=1)
    fit(model, data, build_method("lfm", mode="released"), epochs=1)
    numbers = toy_data(regression=True)
    fit(toy_model(numbers, "lfm"), numbers, "lfm", epochs=1)
    with pytest.raises(InputError, match="chances"):
        fit(toy_model(numbers, "lfm"), numbers, build_method("lfm", alignment="js"), epochs=1)


@pytest.mark.parametrize("name", ["alpha", "schedule", "alpha_lr", "alignment", "mode"])
def test_bad_options_are_refused(name):
    with pytest.raises(InputError, match=name):
        build_method("lfm", **{name: -1.0})
    with pytest.raises(InputError, match="temperature"):
        build_method("lfm", temperature=0.0)
