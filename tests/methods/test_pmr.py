"""PMR: slow modalities are drawn to class prototypes."""

from dataclasses import replace
from math import exp, log

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from toy import gradients, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, MultimodalModel, Shared, build_method, fit
from counterpoise.methods.pmr import class_means, closeness, lag


def start(data, epoch=0, model=None, **options):
    """A method before the first batch of an epoch, and its context."""
    ctx, method = toy_context(data, model or toy_model(data)), build_method("pmr", **options)
    ctx.epoch = epoch
    method.setup(ctx)
    method.epoch_start(ctx)
    return method, ctx


def losses_of(method, ctx, batch):
    batch = method.transform(batch, ctx)
    return method.losses(ctx.model(batch), batch, ctx)


def by_hand(method, ctx, batch, released=False):
    """The weights and terms of each modality, in loops."""
    names, z = ctx.model.modalities, ctx.model.encode(batch)
    q, rows = {}, {m: [] for m in names}
    for k, m in enumerate(names):
        known = method.known[k].nonzero().squeeze(1).tolist()
        for i in range(len(batch)):
            y = int(batch.target[i])
            if batch.present[m][i] and y in known:
                c = getattr(method, f"prototypes_{k}")[known]
                q[m, i] = (-(z[m][i] - c).norm(dim=1)).softmax(0), known.index(y)
                rows[m].append(i)

    def mean(m, chosen):
        return torch.stack([q[m, i][0][q[m, i][1]] for i in chosen]).mean()

    terms = {}
    for m in names:
        ratios = []
        for k in names:
            both = [i for i in rows[m] if i in rows[k]]
            ours, theirs = (both, both) if len(both) >= 8 else (rows[m], rows[k])
            ratios.append((mean(k, theirs) / mean(m, ours)).item())
        pull = torch.stack([-q[m, i][0][q[m, i][1]].log() for i in rows[m]]).mean()
        spread = torch.stack([-(q[m, i][0] * q[m, i][0].log()).sum() for i in rows[m]]).mean()
        beta = min(max(ratios) - 1, 1)
        delta = min(max(1 / r for r in ratios) - 1, 1) if beta <= 0 else 0
        terms[m] = (float(beta > 0) if released else max(beta, 0)), pull, delta, spread
    return terms


@pytest.mark.parametrize("share", [0.1, 1.0])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("count", [2, 3])
def test_the_losses_by_hand(count, missing, share):
    data = toy_data(count, missing=missing, classes=6)
    method, ctx = start(data, alpha=0.7, mu=0.3, share=share)
    if share < 1:
        method.known[1, 2] = False  # as if the share had held no sample of the class
    batch = toy_batch(data, 48)
    found, terms = losses_of(method, ctx, batch), by_hand(method, ctx, batch)
    torch.testing.assert_close(
        found["fused"], F.cross_entropy(ctx.model(batch).logits, batch.target)
    )
    assert any(beta > 0 for beta, *_ in terms.values())
    for m, (beta, pull, delta, spread) in terms.items():
        torch.testing.assert_close(found[f"{m} prototypes"], 0.7 * beta * pull)
        torch.testing.assert_close(found[f"{m} entropy"], -0.3 * delta * spread)
    released, ctx = start(data, share=share, mode="released")
    released.known.copy_(method.known)
    found = losses_of(released, ctx, batch)
    assert not [name for name in found if "entropy" in name]
    for m, (beta, pull, *_) in by_hand(released, ctx, batch, released=True).items():
        torch.testing.assert_close(found[f"{m} prototypes"], beta * pull)


def test_how_far_behind_and_ahead():
    def of(*scores):
        behind, ahead = lag(torch.tensor([[s] * len(scores) for s in scores]))
        return [*behind.tolist(), *ahead.tolist()]

    assert of(0.6, 0.4) == pytest.approx([0, 0.5, 0.5, 0])
    assert of(0.9, 0.3) == pytest.approx([0, 1, 1, 0])
    assert of(0.5, 0.5) == [0, 0, 0, 0]
    assert of(0.4, 0.6, 0.5) == pytest.approx([0.5, 0, 0.2, 0, 0.5, 0])
    assert of(0.4, float("nan"), 0.5) == pytest.approx([0.25, 0, 0, 0, 0, 0.25])
    assert of(0.0, 0.5) == [1, 0, 0, 1]


def test_the_loss_falls_with_the_distance_between_classes_alone():
    """A feature at its own prototype, all others at the distance D: log(1 + (K - 1) e^-D)."""
    for distance in (1.0, 3.0):
        prototypes = distance / 2**0.5 * torch.eye(4)
        z = prototypes[1:2].clone().requires_grad_()
        logits = closeness(z, prototypes, torch.ones(4, dtype=torch.bool))
        loss = F.cross_entropy(logits, torch.tensor([1]))
        assert loss.item() == pytest.approx(log(1 + 3 * exp(-distance)), abs=1e-5)
        loss.backward()
        assert z.grad.isfinite().all()  # at a distance of 0


def test_a_class_without_prototype_is_left_out():
    z, c = torch.randn(5, 3), torch.randn(4, 3)
    known = torch.tensor([True, False, True, True])
    found = closeness(z, c, known).softmax(1)
    torch.testing.assert_close(found[:, known], (-torch.cdist(z, c[known])).softmax(1))
    assert not found[:, 1].any()


def test_prototypes_are_means_of_training_features_in_evaluation_mode():
    data = toy_data(3, missing=0.3, sequences=True)  # encoders with BatchNorm
    method, ctx = start(data, share=1.0)
    assert ctx.model.training
    ctx.model.eval()
    whole = data.train[torch.arange(len(data.train))]
    z = ctx.model.encode(whole)
    for k, m in enumerate(data.modalities):
        for y in range(3):
            rows = whole.present[m] & (whole.target == y)
            found = method.get_buffer(f"prototypes_{k}")[y]
            torch.testing.assert_close(found, z[m][rows].mean(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.2, 1.0])
def test_prototypes_over_epochs(momentum):
    """Classes: twice there; first only; second only; never."""
    method, ctx = start(toy_data(classes=4), momentum=momentum)
    method.setup(ctx)
    first = torch.randn(2, 8), torch.tensor([0, 1])
    second = torch.randn(3, 8), torch.tensor([0, 2, 2])
    for pair in (first, second):
        ctx.features = lambda split, share, pair=pair: dict.fromkeys("ab", pair)
        method.epoch_start(ctx)
    z, other = first[0], second[0]
    mixed = (1 - momentum) * other[0] + momentum * z[0]
    wanted = torch.stack([mixed, z[1], other[1:].mean(0), torch.zeros(8)])
    torch.testing.assert_close(method.get_buffer("prototypes_1"), wanted)
    assert method.known.tolist() == [[True, True, True, False]] * 2
    if momentum in (0, 1):
        assert torch.equal(method.prototypes_1[0], (other if momentum == 0 else z)[0])
    means, here = class_means(other, second[1], 4)
    torch.testing.assert_close(means[2], other[1:].mean(0))
    assert here.tolist() == [True, False, True, False] and not means[1].any()


def test_the_terms_of_a_modality_move_its_encoder_only():
    data = toy_data()
    method, ctx = start(data)
    for name, loss in losses_of(method, ctx, toy_batch(data)).items():
        if name != "fused" and loss != 0:
            ctx.model.zero_grad(set_to_none=True)
            loss.backward(retain_graph=True)
            moved = {k for k, g in gradients(ctx.model).items() if g is not None}
            assert moved and all(k.startswith(f"encoders.{name[0]}.") for k in moved)


def test_equal_scores_are_joint_training():
    data = toy_data()
    encoders = {m: nn.Linear(4, 6) for m in "ab"}
    encoders["b"].load_state_dict(encoders["a"].state_dict())
    model = MultimodalModel(encoders, Shared({"a": 6, "b": 6}, 3))
    batch = toy_batch(data)
    batch = replace(batch, inputs=dict.fromkeys("ab", batch.inputs["a"]))
    ctx, found = toy_context(data, model), []
    ctx.features = lambda split, share: {m: (torch.eye(3, 6), torch.arange(3)) for m in "ab"}
    for name in ("joint", "pmr"):
        method = build_method(name)
        method.setup(ctx)
        method.epoch_start(ctx)
        losses = losses_of(method, ctx, batch)
        assert all(loss == 0 for key, loss in losses.items() if key != "fused")
        method.backward(losses, ctx)
        found.append(gradients(model))
        model.zero_grad()
    assert same(*found)


def test_a_modality_that_the_batch_lacks_gets_no_term():
    data = toy_data(3)
    method, ctx = start(data)
    losses = losses_of(method, ctx, toy_batch(data).only("a", "c"))
    assert not [name for name in losses if name.startswith("b ")]
    method.backward(losses, ctx)
    assert all(p.grad is None for p in ctx.model.encoder_parameters("b"))
    alone = losses_of(method, ctx, toy_batch(data).only("c"))
    assert alone["c prototypes"] == alone["c entropy"] == 0


def trained(method, model=None, epochs=3):
    data = toy_data(missing=0.3)
    model = model or toy_model(data)
    fit(model, data, method, epochs=epochs, batch_size=16, lr=0.05, momentum=0.9)
    return weights(model)


def test_weights_of_zero_and_other_epochs_are_joint_training_to_the_bit():
    joint = trained("joint")
    for options in ({"alpha": 0.0, "mu": 0.0}, {"start": 3}, {"alpha": 0.0, "early": 0}):
        assert same(trained(build_method("pmr", **options)), joint), options
    for options in ({"alpha": 0.0}, {"mu": 0.0}, {"start": 2, "end": 2}):
        assert not same(trained(build_method("pmr", **options)), joint), options


def test_the_epochs():
    method, ctx = build_method("pmr"), toy_context(epochs=150)
    assert [e for ctx.epoch in range(150) for e in [ctx.epoch] if method.active(ctx)] == [
        *range(101)
    ]
    data = toy_data()
    for epochs, last in ((30, 2), (3, 0)):
        for epoch in range(4):
            method, ctx = start(data, epoch=epoch, end=9)
            ctx.epochs = epochs
            names = losses_of(method, ctx, toy_batch(data))
            assert ("a entropy" in names) == (epoch <= last)


def test_a_fusion_that_maps_features_of_unequal_widths():
    encoders = {"a": nn.Linear(4, 6), "b": nn.Linear(5, 9)}
    model = MultimodalModel(encoders, Shared({"a": 6, "b": 9}, 3))
    assert len(trained(build_method("pmr"), model)) > 0


def test_what_does_not_fit_is_refused():
    data = toy_data()
    with pytest.raises(InputError, match="regression"):
        build_method("pmr").check(toy_model(data), toy_data(regression=True).task)
    for bad in (
        {"alpha": -1},
        {"momentum": 1.5},
        {"share": 2},
        {"mu": -1},
        {"early": -1},
        {"start": -1},
        {"start": 2, "end": 1},
        {"mode": "code"},
    ):
        with pytest.raises(InputError, match=list(bad)[-1]):
            build_method("pmr", **bad)
