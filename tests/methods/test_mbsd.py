"""MBSD: in each sample the surer modality teaches the weaker."""

import pytest
import torch
from torch.nn import functional as F
from toy import gradients, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, build_method, fit


def by_hand(a, b, y, distil, match, temperature):
    """The weighted gap of one sample, of logits [K] and its class."""
    pa, pb = a.softmax(0), b.softmax(0)
    if int(a.argmax()) != y and int(b.argmax()) != y:
        return 0.0
    strong, weak = (a, b) if pa[y] > pb[y] else (b, a)
    p, q = (strong / temperature).softmax(0), (weak / temperature).softmax(0)
    kl = sum(float(x) * float((x / z).log()) for x, z in zip(p, q, strict=True))
    rs = float((strong - weak).square().sum()) / len(a)
    return abs(float(pa[y] - pb[y])) * (distil * temperature**2 * kl + match * rs)


@pytest.mark.parametrize("policy", ["slice", "ablate", "aux"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("modalities", [2, 3])
def test_losses_by_hand(modalities, missing, policy):
    data = toy_data(modalities, missing=missing)
    options = {"distil": 0.7, "match": 0.3, "temperature": 2.0}
    method = build_method("mbsd", **options)
    ctx = toy_context(data, toy_model(data, method, unimodal=policy))
    batch = toy_batch(data, 40)
    out = ctx.model.requires_grad_(False)(batch)
    losses = method.losses(out, batch, ctx)
    total, names = 0.0, data.modalities
    for j, a in enumerate(names):
        here = batch.present[a]
        wanted = F.cross_entropy(out.unimodal[a][here], batch.target[here])
        torch.testing.assert_close(losses[f"{a} alone"], wanted)
        for b in names[j + 1 :]:
            rows = (here & batch.present[b]).nonzero()[:, 0].tolist()
            gaps = [
                by_hand(out.unimodal[a][i], out.unimodal[b][i], int(batch.target[i]), **options)
                for i in rows
            ]
            assert 0 < gaps.count(0.0) < len(gaps)
            total += sum(gaps) / len(gaps)
    torch.testing.assert_close(losses["fused"], F.cross_entropy(out.logits, batch.target))
    pairs = modalities * (modalities - 1) / 2
    assert float(losses["distillation"]) == pytest.approx(total / pairs, rel=1e-4)


Y = torch.tensor([0, 1])
SURE = torch.tensor([[[4.0, 0.0, 1.0], [0.0, 3.0, 1.0]]])
WEAK = torch.tensor([[[1.0, 0.5, 0.0], [2.0, 0.0, 1.0]]])


def test_closed_forms():
    method = build_method("mbsd")
    assert bool((method.gaps(SURE, SURE, Y) == 0).all())  # the same logits
    wrong = torch.tensor([2, 2])
    assert bool((method.gaps(SURE, WEAK, wrong) == 0).all())  # neither is right
    assert bool((method.gaps(SURE, WEAK, Y) > 0).all())
    torch.testing.assert_close(method.gaps(SURE, WEAK, Y), method.gaps(WEAK, SURE, Y))


@pytest.mark.parametrize("side", [0, 1])
def test_the_stronger_side_and_the_weights_get_no_gradient(side):
    method = build_method("mbsd")
    sides = [SURE.clone(), WEAK.clone()]
    pair = [x.requires_grad_() for x in (sides if side == 0 else sides[::-1])]
    method.gaps(*pair, Y).sum().backward()
    strong, weak = pair if side == 0 else pair[::-1]
    assert strong.grad is None or bool((strong.grad == 0).all())
    p, q = SURE.softmax(-1), WEAK.softmax(-1)
    truth = Y.expand(1, 2)[..., None]
    w = (p.gather(-1, truth) - q.gather(-1, truth)).abs()
    wanted = w * (q - p + 2 / 3 * (WEAK - SURE))
    torch.testing.assert_close(weak.grad, wanted)


def test_without_its_losses_it_is_multi_loss():
    data = toy_data(3, missing=0.3)
    settings = {"epochs": 2, "batch_size": 16, "lr": 0.05}
    mine, other = toy_model(data, "mbsd"), toy_model(data, "multi-loss", unimodal="slice")
    assert same(weights(mine), weights(other))
    fit(mine, data, build_method("mbsd", distil=0.0, match=0.0), **settings)
    fit(other, data, "multi-loss", **settings)
    for key, value in weights(other).items():
        torch.testing.assert_close(weights(mine)[key], value)


def test_a_pair_that_no_sample_has_adds_nothing():
    data = toy_data(3)
    method = build_method("mbsd", distil=1e4)
    ctx, batch = toy_context(data, method=method), toy_batch(data)
    batch.present["a"][:8] = False
    batch.present["b"][8:] = False  # no sample has both a and b
    losses = method.losses(ctx.model(batch), batch, ctx)
    method.backward(losses, ctx)
    assert all(bool(g.isfinite().all()) for g in gradients(ctx.model).values())
    alone = method.losses(ctx.model(batch.only("c")), batch.only("c"), ctx)
    assert list(alone) == ["fused", "c alone"]


def test_a_modality_that_no_sample_has_gets_no_gradient():
    data = toy_data(3)
    method = build_method("mbsd")
    ctx = toy_context(data, toy_model(data, method, fusion="sum"))
    batch = toy_batch(data).only("a", "b")
    method.backward(method.losses(ctx.model(batch), batch, ctx), ctx)
    assert all((g is None) == (".c." in name) for name, g in gradients(ctx.model).items())


@pytest.mark.parametrize("option", ["distil", "match", "temperature"])
def test_bad_options(option):
    with pytest.raises(InputError, match=f"{option} must be a number from"):
        build_method("mbsd", **{option: -1})


def test_it_is_for_classes():
    numbers = toy_data(regression=True)
    with pytest.raises(InputError, match="classification only"):
        build_method("mbsd").check(toy_model(numbers), numbers.task)
