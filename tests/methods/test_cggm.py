"""CGGM: classifiers beside the model, the size and the direction of gradients."""

import pytest
import torch
from torch.nn import functional as F
from toy import gradients, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, Regression, build_method, fit
from counterpoise.methods.cggm import balance

NAN = float("nan")
SETTINGS = {"epochs": 2, "batch_size": 16, "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
KINDS = [{}, {"regression": True}, {"multilabel": True}]


def made(data, **options):
    """A context and a method after its setup."""
    ctx = toy_context(data, toy_model(data, "cggm"))
    method = build_method("cggm", **options)
    torch.manual_seed(4)
    method.setup(ctx)
    return ctx, method


def metrics_by_hand(ctx, method, out, batch):
    found = []
    for classifier, (name, mask) in zip(method.classifiers, batch.present.items(), strict=True):
        logits = classifier(out.features[name])[mask].detach()
        target = batch.target[mask]
        if isinstance(ctx.task, Regression):  # in standard deviations
            target = (target - ctx.task.mean[0]) / ctx.task.scale[0]
        found.append(ctx.task.metrics(logits, target)[ctx.task.primary])
    return torch.tensor(found)  # NaN where no sample has it


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ([0.1, 0.3], [0.75, 0.25]),
        ([0.1, -0.3], [0.75, 0.25]),
        ([0.2, 0.2, 0.2], [2 / 3] * 3),
        ([0.0, 0.001], [0.5, 0.5]),
        ([0.0, 0.03], [0.75, 0.25]),
        ([NAN, NAN], [0.5, 0.5]),
        ([NAN, NAN, NAN], [2 / 3] * 3),
        ([0.1, NAN, 0.3], [1 - 1 / 6, 2 / 3, 1 / 2]),
    ],
)
def test_balance_by_hand(change, wanted):
    found = balance(torch.tensor(change), 0.01)
    torch.testing.assert_close(found, torch.tensor(wanted))
    torch.testing.assert_close(found.sum(), torch.tensor(len(change) - 1.0))


@pytest.mark.parametrize("change", [[0.1, 0.3], [0.1, -0.3, 0.5], [-0.2, -0.1]])
def test_signed_balance_is_the_papers(change):
    change = torch.tensor(change)
    found = balance(change, None)
    torch.testing.assert_close(found, (change.sum() - change) / change.sum())
    torch.testing.assert_close(found.sum(), torch.tensor(len(change) - 1.0))
    torch.testing.assert_close(balance(-change, None), found)  # an error is as good a metric
    assert bool(balance(torch.zeros(2), None).isfinite().all())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_a_step_equals_one_written_by_hand(modalities, missing, kind):
    """Metrics and balance of two batches, losses, and every gradient before the update."""
    data = toy_data(modalities, missing, **kind)
    ctx, method = made(data, rho=1.7, direction=0.6)
    model, task = ctx.model, ctx.task
    last = None
    for start in (0, 20, 40):
        batch = data.train[torch.arange(start, start + 20)]
        out = model(batch)
        losses = method.losses(out, batch, ctx)
        method.backward(losses, ctx)
        method.modulate(out, batch, ctx)
        found, own = gradients(model), gradients(method)
        for p in (*model.parameters(), *method.parameters()):
            p.grad = None
        now = metrics_by_hand(ctx, method, out, batch)
        size = torch.ones(modalities) if last is None else (now - last).abs().clamp(min=0.01)
        scale, last = (size.sum() - size) / size.sum(), now
        torch.testing.assert_close(method.balance, scale)

        out = model(batch)
        fused = task.loss(out.logits, batch.target).mean()
        (q,) = torch.autograd.grad(fused, model.fusion.head.weight, create_graph=True)
        total, gaps = fused, []
        widths = list(model.fusion.widths.values())
        for k, (name, mask) in enumerate(batch.present.items()):
            logits = method.classifiers[k](out.features[name].detach())[mask]
            alone = task.loss(logits, batch.target[mask]).mean()
            weight = method.classifiers[k].weight
            (guide,) = torch.autograd.grad(alone, weight, retain_graph=True)
            part = q[:, sum(widths[:k]) : sum(widths[: k + 1])]
            cosine = (part * guide).sum() / part.norm() / guide.norm()
            gaps.append(scale[k].abs() - scale[k] * cosine)
            total = total + alone
        torch.testing.assert_close(losses["direction"], 0.6 * sum(gaps) / modalities)
        (total + 0.6 * sum(gaps) / modalities).backward()
        for k, name in enumerate(batch.present):
            for p in model.encoder_parameters(name):
                p.grad *= 1.7 * scale[k]
        for name, wanted in gradients(model).items():
            torch.testing.assert_close(found[name], wanted, atol=1e-5, rtol=1e-4)
        for name, wanted in gradients(method).items():
            torch.testing.assert_close(own[name], wanted, atol=1e-5, rtol=1e-4)
        ctx.update()


@pytest.mark.parametrize("mode", ["paper", "released"])
def test_aligned_gradients_cost_nothing(mode):
    """A fused head that is the classifiers side by side, on one modality at a time."""
    data = toy_data()
    ctx, method = made(data, mode=mode)
    head, batch = ctx.model.fusion.head, toy_batch(data).only("a")
    with torch.no_grad():
        head.weight.copy_(torch.cat([c.weight for c in method.classifiers], 1))
        head.bias.copy_(method.classifiers[0].bias)
    losses = method.losses(ctx.model(batch), batch, ctx)
    assert set(losses) == {"fused", "a classifier", "direction"}
    assert abs(losses["direction"].item()) < 1e-6


@pytest.mark.parametrize("names", ["abc", "ac"])
@pytest.mark.parametrize("last", [None, [0.1, 0.2, 0.9]])
def test_released_aligns_weights_takes_signed_changes_and_starts_from_zero(names, last):
    data = toy_data(3, missing=0.3)
    ctx, method = made(data, mode="released", direction=1.0)
    if last is not None:
        method.metric.copy_(torch.tensor(last))
    batch = toy_batch(data).only(*names)
    out = ctx.model(batch)
    losses = method.losses(out, batch, ctx)
    here = [m in names for m in "abc"]
    change = metrics_by_hand(ctx, method, out, batch) - torch.tensor(last or [0.0] * 3)
    change[~torch.tensor(here)] = change[here].mean()
    scale = (change.sum() + 1e-8 - change) / (change.sum() + 1e-8)
    torch.testing.assert_close(method.balance, scale)
    assert bool((scale < 0).any()) == (last is not None)
    slices = ctx.model.fusion.slices().values()
    cosines = [
        F.cosine_similarity(w.flatten(), c.weight.flatten(), dim=0)
        for w, c in zip(slices, method.classifiers, strict=True)
    ]
    wanted = (scale.abs() - scale * torch.stack(cosines))[here].sum() / 3
    torch.testing.assert_close(losses["direction"], wanted)
    moved = [*ctx.model.parameters(), *method.parameters()]
    grads = torch.autograd.grad(losses["direction"], moved, allow_unused=True)
    touched = [p for p, g in zip(moved, grads, strict=True) if g is not None]
    assert len(touched) == 1 and touched[0] is ctx.model.fusion.head.weight


def test_signed_changes_on_request():
    ctx, method = made(toy_data(), improvement="signed")
    batch = toy_batch(toy_data())
    for last in ([NAN, NAN], [0.9, 0.1]):
        method.metric.copy_(torch.tensor(last))
        out = ctx.model(batch)
        method.losses(out, batch, ctx)
        change = metrics_by_hand(ctx, method, out, batch) - torch.tensor(last)
        wanted = balance(change, None)
        torch.testing.assert_close(method.balance, wanted)
    assert change[0] < 0 < change[1]


def test_classifiers_train_with_their_own_rate_and_never_the_encoders():
    data = toy_data(missing=0.3)
    ctx, method = made(data, direction=0.0, classifier_lr=0.25)
    own = set(method.classifiers.parameters())
    rates = {p: g["lr"] for g in ctx.optimizer.param_groups for p in g["params"]}
    assert all(rate == (0.025 if p in own else 0.1) for p, rate in rates.items())
    assert own <= set(rates)
    batch = toy_batch(data)
    losses = method.losses(ctx.model(batch), batch, ctx)
    assert list(losses) == ["fused", "a classifier", "b classifier"]
    for name in "ab":
        grads = torch.autograd.grad(
            losses[f"{name} classifier"], list(ctx.model.parameters()), allow_unused=True
        )
        assert all(g is None for g in grads)


def test_equal_changes_and_no_direction_are_joint_training_scaled():
    """A floor above every change makes all alike; with rho = M / (M - 1) the factor is 1."""
    data = toy_data(missing=0.3)
    models = [toy_model(data, "joint"), toy_model(data, "cggm")]
    fit(models[0], data, "joint", **SETTINGS)
    fit(models[1], data, build_method("cggm", rho=2.0, direction=0.0, floor=2.0), **SETTINGS)
    assert same(weights(models[0]), weights(models[1]))


def test_a_modality_that_no_sample_has_is_left_alone_and_keeps_its_metric():
    data = toy_data(3)
    ctx, method = made(data)
    ctx.optimizer.param_groups[0]["weight_decay"] = 0.1
    method.step(toy_batch(data), ctx)
    metric, before = method.metric.clone(), weights(ctx.model.encoders["b"])
    shown = method.step(toy_batch(data).only("a"), ctx)
    assert set(shown) == {"fused", "a classifier", "direction"}
    assert same(weights(ctx.model.encoders["b"]), before)
    assert torch.equal(method.metric[1:], metric[1:])
    torch.testing.assert_close(method.balance, torch.full((3,), 2 / 3))
    assert all(bool(loss.isfinite()) for loss in shown.values())


def test_errors():
    for option in ("rho", "direction", "classifier_lr"):
        with pytest.raises(InputError, match=f"{option} must be a number from 0, found -1"):
            build_method("cggm", **{option: -1})
    with pytest.raises(InputError, match="floor must be a number from 1e-08, found 0"):
        build_method("cggm", floor=0)
    with pytest.raises(InputError, match="unknown value for improvement 'abs'"):
        build_method("cggm", improvement="abs")
    data = toy_data()
    with pytest.raises(InputError, match="trains a Concat fusion, found Late"):
        fit(toy_model(data, fusion="late"), data, "cggm")
