"""AMCo: masks over classes for the modality that prediction depends on."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from toy import gradients, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, build_method, fit
from counterpoise.methods.amco import dependence, hits, masked_classes


def ready(data, epochs=4, fusion=None, **options):
    method = build_method("amco", **options)
    ctx = toy_context(data, toy_model(data, method, fusion=fusion), epochs=epochs)
    method.setup(ctx)
    return method, ctx


def test_dependence_is_a_share_of_the_present_softmax():
    logits = torch.randn(3, 5, 4)
    present = torch.tensor([[1, 1, 0, 1, 0], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0]]).bool()
    found = dependence(logits, present)
    for i in range(5):
        here = [m for m in range(3) if present[m, i]]
        flat = torch.cat([logits[m, i] for m in here]).softmax(0) if here else torch.zeros(0)
        parts = dict(zip(here, flat.split(4), strict=True)) if here else {}
        for m in range(3):
            wanted = parts[m].sum() if m in parts else torch.tensor(0.0)
            torch.testing.assert_close(found[m, i], wanted)
    torch.testing.assert_close(found[:, :4].sum(0), torch.ones(4))
    turn = [2, 0, 1]
    torch.testing.assert_close(dependence(logits[turn], present[turn]), found[turn])


@pytest.mark.parametrize("progress", [0.0, 0.1, 1 / 3, 0.7, 1.0, 3.0])
def test_the_mask_hides_the_schedule_s_number_of_classes(progress):
    count = int(masked_classes(10, progress, torch.Generator().manual_seed(0)).sum())
    wanted = {0.0: 0, 0.1: 1, 1 / 3: 5, 0.7: 8, 1.0: 10, 3.0: 10}[progress]
    assert count == wanted == math.floor(10 * math.sin(math.pi / 2 * min(progress, 1)) + 1e-9)


def test_every_class_is_hidden_at_times():
    found = torch.stack(
        [masked_classes(6, 1 / 3, torch.Generator().manual_seed(s)) for s in range(60)]
    )
    assert bool((found.sum(1) == 3).all())
    assert bool(((found.sum(0) > 15) & (found.sum(0) < 45)).all())


def test_a_sample_keeps_what_it_has_where_all_of_it_would_be_masked():
    present = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 1], [1, 0, 0, 0]]).bool()
    found = hits(torch.tensor([True, True, False]), present)
    assert found.int().tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert not hits(torch.tensor([True, True, True]), present).any()


@pytest.mark.parametrize("fusion", ["concat", "sum"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("modalities", [2, 3])
def test_losses_by_hand(modalities, missing, fusion):
    data = toy_data(modalities, missing=missing)
    method, ctx = ready(data, fusion=fusion)
    ctx.model.requires_grad_(False)
    with torch.no_grad():
        method.linear.weight.add_(torch.randn(3, 3))
        method.linear.bias.add_(1)
    ctx.epoch, ctx.batch = 0, 3  # progress .15, of .3: sin(pi / 4) of 3 classes, so 2
    method.masked[0] = True
    batch, names = toy_batch(data, 40), data.modalities
    out = ctx.model(batch)
    losses = method.losses(out, batch, ctx)
    hidden = torch.randperm(3, generator=ctx.generator())[:2]
    fused, alone = [], {m: [] for m in names}
    for i in range(40):
        here = [m for m in names if batch.present[m][i]]
        u = {m: out.unimodal[m][i].clone() for m in here}
        if "a" in u and len(here) > 1:
            u["a"][hidden] = 0
        fused.append(method.linear.weight @ sum(u.values()) + method.linear.bias)
        for m in here:
            alone[m].append(float(F.cross_entropy(u[m], batch.target[i])))
    torch.testing.assert_close(losses["fused"], F.cross_entropy(torch.stack(fused), batch.target))
    for m, each in alone.items():
        assert float(losses[f"{m} alone"]) == pytest.approx(sum(each) / len(each), rel=1e-4)
    plain = sum(out.unimodal[m] * batch.present[m][:, None] for m in names)
    torch.testing.assert_close(method.predict(ctx.model, batch), method.linear(plain))


@pytest.mark.parametrize(
    ("threshold", "wanted"), [(None, [True, False, False]), (0.2, [True, True, False])]
)
def test_the_next_step_masks_what_leads_on_like_samples(threshold, wanted):
    data = toy_data(3)
    method, ctx = ready(data, threshold=threshold)
    shares = torch.tensor([0.45, 0.38, 0.17]).log()  # of complete samples
    logits = shares[:, None, None].expand(3, 40, 3)
    here = torch.ones(3, 40, dtype=torch.bool)
    method._look(logits, here, ctx)
    assert method.masked.tolist() == wanted
    # alone, it says nothing of dependence; with nobody to compare, the flags stay
    alone = torch.zeros_like(here)
    alone[2] = True
    method._look(logits, alone, ctx)
    assert method.masked.tolist() == wanted
    # of b and c alone, b says .69, which is .19 above its part; of a there is no news
    pair = here.clone()
    pair[0] = False
    method._look(logits, pair, ctx)
    assert method.masked.tolist() == [True, True, False]


@pytest.mark.parametrize(("share", "masked"), [(0.49, False), (0.5, False), (0.51, True)])
def test_of_two_it_is_the_one_above_a_half(share, masked):
    data = toy_data(2)
    method, ctx = ready(data)
    logits = torch.tensor([share, 1 - share]).log()[:, None, None].expand(2, 8, 3)
    method._look(logits, torch.ones(2, 8, dtype=torch.bool), ctx)
    assert bool(method.masked[0]) == masked


def test_it_starts_as_the_sum_and_the_layer_is_trained_with_the_model():
    data = toy_data()
    method, ctx = ready(data)
    batch = toy_batch(data)
    torch.testing.assert_close(method.predict(ctx.model, batch), ctx.model(batch).logits)
    assert any(p is method.linear.weight for p in ctx.parameters())
    run = fit(toy_model(data, "amco"), data, "amco", epochs=2, batch_size=16, lr=0.1)
    assert not torch.equal(run.method.linear.weight, torch.eye(3))
    assert set(weights(run.method)) == {"linear.weight", "linear.bias", "masked"}


def test_the_first_batch_masks_nothing_and_from_end_on_all_is_masked():
    data = toy_data()
    method, ctx = ready(data)
    method.masked.copy_(torch.tensor([True, False]))
    batch = toy_batch(data)
    out = ctx.model(batch)
    first = method.losses(out, batch, ctx)
    torch.testing.assert_close(first["a alone"], ctx.loss(out.unimodal["a"], batch))
    method.masked.copy_(torch.tensor([True, False]))
    ctx.epoch = 2
    last = method.losses(out, batch, ctx)
    assert last["a alone"].item() == pytest.approx(math.log(3))
    torch.testing.assert_close(last["fused"], last["b alone"])


def test_dependence_is_that_of_the_logits_before_the_mask():
    data = toy_data()
    method, ctx = ready(data)
    batch = toy_batch(data)
    out = ctx.model(batch)
    said = {"a": 5 * F.one_hot(batch.target, 3).float(), "b": torch.full((16, 3), 0.1)}
    method.masked[0] = True
    ctx.epoch = 2
    method.losses(replace(out, unimodal=said), batch, ctx)
    assert method.masked.tolist() == [True, False]


def test_a_threshold_of_one_masks_nothing():
    data = toy_data(3, missing=0.3)
    settings = {"epochs": 2, "batch_size": 16, "lr": 0.05}
    one = fit(toy_model(data, "amco"), data, build_method("amco", threshold=1.0), **settings)
    other = build_method("amco", threshold=1.0, end=1.0)
    two = fit(toy_model(data, "amco"), data, other, **settings)
    assert same(weights(one.model), weights(two.model))
    masking = fit(toy_model(data, "amco"), data, build_method("amco", threshold=0.35), **settings)
    assert not same(weights(one.model), weights(masking.model))


def test_a_modality_that_no_sample_has_gets_no_gradient():
    data = toy_data(3)
    method, ctx = ready(data, fusion="sum")
    batch = toy_batch(data).only("a", "b")
    losses = method.losses(ctx.model(batch), batch, ctx)
    assert list(losses) == ["fused", "a alone", "b alone"]
    method.backward(losses, ctx)
    assert all((g is None) == (".c." in name) for name, g in gradients(ctx.model).items())


def test_a_model_predicts_data_that_lacks_a_modality():
    data = toy_data(2)
    method, ctx = ready(data)
    batch = toy_batch(data)
    less = replace(batch, present={"a": batch.present["a"]})
    found, wanted = (method.predict(ctx.model, b) for b in (less, batch.only("a")))
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("options", [{"threshold": 2}, {"end": 0}, {"end": 1.5}])
def test_bad_options(options):
    with pytest.raises(InputError, match=f"{next(iter(options))} must be a number from"):
        build_method("amco", **options)


def test_what_it_does_not_train():
    numbers, data = toy_data(regression=True), toy_data()
    with pytest.raises(InputError, match="classification only"):
        build_method("amco").check(toy_model(numbers, "amco"), numbers.task)
    with pytest.raises(InputError, match="trains a Concat or Sum fusion"):
        build_method("amco").check(toy_model(data, fusion="late"), data.task)


def test_a_method_that_never_trained_cannot_predict():
    data = toy_data()
    model = toy_model(data, "amco")
    with pytest.raises(InputError, match="pass the method that trained"):
        build_method("amco").predict(model, toy_batch(data))
