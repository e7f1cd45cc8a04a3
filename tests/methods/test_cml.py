"""CML: nested subsets, confidence that must not rise."""

import pytest
import torch
from torch.nn import functional as F
from toy import Calls, gradients, toy_batch, toy_context, toy_data, toy_model

from counterpoise import InputError, build_method, fit
from counterpoise.methods.cml import chain


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_chains_by_hand(order):
    present = torch.tensor([[1, 1, 0, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 0]]).bool()
    found = chain(present, torch.tensor(order), 3)
    assert len(found) == 3
    for i in range(5):
        left = [m for m in order if present[m, i]]
        for kept in found:
            assert kept[:, i].nonzero()[:, 0].tolist() == sorted(left)
            left = left[1:]


def test_a_batch_of_single_modalities_has_one_subset():
    present = torch.tensor([[1, 0], [0, 1]]).bool()
    (only,) = chain(present, torch.tensor([1, 0]), 1)
    assert torch.equal(only, present)
    assert len(chain(torch.zeros(2, 3, dtype=torch.bool), torch.tensor([0, 1]), 0)) == 1


@pytest.mark.parametrize("fusion", ["concat", "late", "shared", "film"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("modalities", [2, 3])
def test_losses_by_hand(modalities, missing, fusion):
    data = toy_data(modalities, missing=missing)
    method = build_method("cml", weight=0.7, margin=0.01)
    model = toy_model(data, method, fusion=fusion)
    fit(model, data, "joint", epochs=3, batch_size=8, lr=0.1)
    ctx = toy_context(data, model.requires_grad_(False))
    ctx.epoch, ctx.batch = 1, 3
    batch = method.transform(toy_batch(data, 40), ctx)
    losses = method.losses(ctx.model(batch), batch, ctx)
    names = data.modalities
    order = [names[k] for k in torch.randperm(modalities, generator=ctx.generator())]
    errors, rises, signs = 0.0, 0.0, set()
    ctx.model.eval()
    for i in range(40):
        sample = data.train[torch.tensor([i])]
        left = [m for m in order if sample.present[m]]
        before, ce = None, []
        while left:
            f = ctx.model(sample.only(*left)).logits
            ce.append(float(F.cross_entropy(f, sample.target)))
            sure, guess = f.softmax(1).max(1)
            if before is not None and before[1]:
                rises += max(0.0, float(sure) - before[0] - 0.01)
                signs.add(float(sure) > before[0])
            before, left = (float(sure), bool(guess == sample.target)), left[1:]
        errors += sum(ce) / len(ce)
    assert signs == {True, False} or fusion == "film"
    assert float(losses["subsets"]) == pytest.approx(errors / 40, rel=1e-4)
    assert float(losses["confidence"]) == pytest.approx(0.7 * rises / 40, rel=1e-3)


def losses_of(logits, monkeypatch):
    """The losses of one sample per row with two modalities, whose subsets say ``logits``."""
    data = toy_data()
    method = build_method("cml", weight=1.0)
    ctx = toy_context(data, method=method)
    batch = method.transform(toy_batch(data, 2), ctx)
    out = ctx.model(batch)
    whole, part = (torch.tensor(x) for x in logits)
    object.__setattr__(out, "logits", whole)
    object.__setattr__(batch, "target", torch.tensor([0, 0]))
    monkeypatch.setattr(ctx.model, "forward", lambda _: type(out)(part, out.unimodal, out.features))
    return method.losses(out, batch, ctx)


def test_a_fall_elsewhere_does_not_make_up_for_a_rise(monkeypatch):
    low, high = [1.0, 0.0, 0.0], [3.0, 0.0, 0.0]
    found = losses_of(([low, high], [high, low]), monkeypatch)["confidence"]
    rise = torch.tensor(high).softmax(0)[0] - torch.tensor(low).softmax(0)[0]
    torch.testing.assert_close(found, rise / 2)


def test_a_rise_over_a_wrong_prediction_does_not_count(monkeypatch):
    wrong, high = [0.0, 1.0, 0.0], [3.0, 0.0, 0.0]
    assert losses_of(([wrong, wrong], [high, high]), monkeypatch)["confidence"] == 0


def test_equal_confidences_cost_nothing(monkeypatch):
    row = [2.0, 0.0, 0.0]
    found = losses_of(([row, row], [row, row]), monkeypatch)
    assert found["confidence"] == 0
    torch.testing.assert_close(
        found["subsets"], F.cross_entropy(torch.tensor([row]), torch.tensor([0]))
    )


def test_each_modality_is_encoded_once():
    data = toy_data(3)
    method = build_method("cml")
    ctx = toy_context(data, method=method)
    calls = {m: Calls(encoder) for m, encoder in ctx.model.encoders.items()}
    method.step(toy_batch(data), ctx)
    assert all(call.rows == [16] for call in calls.values())


def test_the_order_changes_with_the_batch(monkeypatch):
    orders = set()
    monkeypatch.setattr(
        "counterpoise.methods.cml.chain",
        lambda p, o, n: orders.add(tuple(o.tolist())) or chain(p, o, n),
    )
    data = toy_data(3)
    fit(toy_model(data), data, "cml", epochs=3, batch_size=16)
    assert len(orders) == 6


def test_a_modality_that_no_sample_has_gets_no_gradient():
    data = toy_data(3)
    method = build_method("cml")
    ctx = toy_context(data, toy_model(data, method, fusion="sum"))
    batch = method.transform(toy_batch(data).only("a", "b"), ctx)
    method.backward(method.losses(ctx.model(batch), batch, ctx), ctx)
    found = gradients(ctx.model)
    assert all((g is None) == (".c." in name) for name, g in found.items())
    alone = method.transform(toy_batch(data).only("c"), ctx)
    losses = method.losses(ctx.model(alone), alone, ctx)
    assert losses["confidence"] == 0
    torch.testing.assert_close(losses["subsets"], ctx.loss(ctx.model(alone).logits, alone))


@pytest.mark.parametrize("options", [{"weight": -1}, {"margin": -0.1}, {"margin": 2}])
def test_bad_options(options):
    with pytest.raises(InputError, match=f"{next(iter(options))} must be a number from 0"):
        build_method("cml", **options)


def test_what_it_does_not_train():
    numbers, data = toy_data(regression=True), toy_data()
    with pytest.raises(InputError, match="classification only"):
        build_method("cml").check(toy_model(numbers), numbers.task)
    with pytest.raises(InputError, match="unimodal=slice or ablate"):
        build_method("cml").check(toy_model(data, unimodal="aux"), data.task)
