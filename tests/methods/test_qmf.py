"""QMF: energy weights, loss history, ranking of neighbours."""

import math

import pytest
import torch
from torch.nn import functional as F
from toy import gradients, toy_batch, toy_context, toy_data, toy_model

from counterpoise import InputError, build_method
from counterpoise.methods.qmf import ranking_loss


def ready(data, **options):
    method = build_method("qmf", **options)
    ctx = toy_context(data, method=method)
    method.setup(ctx)
    return method, ctx


def run(method, ctx, epochs):
    for ctx.epoch in range(epochs):
        for batch in ctx.loaders["train"].epoch(ctx.epoch):
            method.step(batch, ctx)


def test_weights_are_energies():
    method = build_method("qmf", tau=5)
    u = torch.randn(6, 4)
    wanted = torch.tensor([math.log(sum(math.exp(x) for x in row)) / 5 for row in u.tolist()])
    torch.testing.assert_close(method.weight(u), wanted)
    torch.testing.assert_close(method.weight(u + 3), wanted + 3 / 5)
    assert build_method("qmf").tau == 10


def test_negative_energies_can_be_clamped():
    u = torch.tensor([[-9.0, -8.0], [1.0, 2.0]])
    raw, clamped = (build_method("qmf", energy=e).weight(u) for e in ("raw", "clamped"))
    assert raw[0] < 0 and clamped[0] == 0 and raw[1] == clamped[1]


@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("modalities", [2, 3])
def test_prediction_is_the_weighted_sum_of_the_present(modalities, missing):
    data = toy_data(modalities, missing=missing)
    method, ctx = ready(data)
    batch, model = toy_batch(data), ctx.model
    out, found = model(batch), method.predict(model, batch)
    for i in range(len(batch)):
        here = [out.unimodal[m][i] for m in data.modalities if batch.present[m][i]]
        torch.testing.assert_close(found[i], sum(u.exp().sum().log() / 10 * u for u in here))


def test_the_fused_loss_does_not_train_the_weights():
    data = toy_data()
    method, ctx = ready(data)
    batch = toy_batch(data)
    out = ctx.model(batch)
    u = {m: out.unimodal[m].detach().requires_grad_() for m in data.modalities}
    w = {m: x.detach().logsumexp(1, keepdim=True) / 10 for m, x in u.items()}
    out.unimodal._values.update(u)
    method.losses(out, batch, ctx)["fused"].backward()
    found = {m: x.grad.clone() for m, x in u.items()}
    for x in u.values():
        x.grad = None
    F.cross_entropy(w["a"] * u["a"] + w["b"] * u["b"], batch.target).backward()
    for m, x in u.items():
        torch.testing.assert_close(found[m], x.grad)


@pytest.mark.parametrize("mode", ["paper", "released"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_losses_by_hand(missing, mode):
    data = toy_data(3, missing=missing)
    method, ctx = ready(data, tau=4, ranking=0.7, mode=mode)
    ctx.model.requires_grad_(False)
    n = len(data.train)
    seen = {m: {} for m in data.modalities}
    for rows in (torch.arange(16), torch.arange(8, 30), torch.tensor([5, 1, 9, 40])):
        batch = data.train[rows]
        for p in ctx.model.parameters():  # as if a step had been taken
            p.mul_(1.2)
        out = ctx.model(batch)
        losses = method.losses(out, batch, ctx)
        for m in data.modalities:
            mask = batch.present[m]
            ce = F.cross_entropy(out.unimodal[m], batch.target, reduction="none")
            torch.testing.assert_close(losses[f"{m} alone"], ce[mask].mean())
            for i, row in enumerate(rows.tolist()):
                if mask[i]:
                    seen[m].setdefault(row, []).append(float(ce[i]))
            if mode == "paper":
                h = {row: sum(each) / len(each) for row, each in seen[m].items()}
            else:
                h = {row: sum(seen[m].get(row, [])) for row in range(n)}
            low, high = min(h.values()), max(h.values())
            w = out.unimodal[m].logsumexp(1) / 4
            total, pairs = 0.0, 0
            for i in range(len(rows)):
                j = (i + 1) % len(rows)
                if mask[i] and mask[j]:
                    gap = (h[int(rows[i])] - h[int(rows[j])]) / (high - low)
                    margin = abs(gap) if mode == "paper" else -abs(gap)
                    total += max(0.0, math.copysign(1, gap) * float(w[i] - w[j]) + margin)
                    pairs += 1
            wanted = 0.7 * total / max(pairs, 1)
            assert float(losses[f"{m} ranking"]) == pytest.approx(wanted, rel=1e-3, abs=1e-5)
    for k, m in enumerate(data.modalities):
        for row in range(n):
            each = seen[m].get(row, [])
            assert float(method.counts[row, k]) == len(each)
            mean = sum(each) / len(each) if each else 0.0
            assert float(method.history[row, k]) == pytest.approx(mean, rel=1e-5)


def test_an_epoch_counts_every_sample_that_is_present_once():
    data = toy_data(3, missing=0.4)
    method, ctx = ready(data)
    run(method, ctx, 2)
    for k, m in enumerate(data.modalities):
        assert torch.equal(method.counts[:, k], 2.0 * data.train.present[m])


def test_ranking_closed_forms():
    here = torch.ones(2, dtype=torch.bool)
    equal, apart = torch.tensor([0.4, 0.4]), torch.tensor([0.8, 0.5])
    w = torch.tensor([0.9, 0.1])
    assert ranking_loss(w, equal, here) == 0  # nothing to rank
    # the first is harder by .3 and must weigh less by .3; both cyclic pairs say so
    assert ranking_loss(torch.tensor([0.1, 0.5]), apart, here) == 0
    torch.testing.assert_close(ranking_loss(w, apart, here), torch.tensor(0.8 + 0.3))
    flat = torch.zeros(2)
    torch.testing.assert_close(ranking_loss(flat, apart, here), torch.tensor(0.3))
    assert ranking_loss(flat, apart, here, -1.0) == 0  # the published tolerance
    torch.testing.assert_close(ranking_loss(w, apart, here, -1.0), torch.tensor(0.8 - 0.3))


def test_pairs_are_neighbours_that_both_have_the_modality():
    w, hard = torch.tensor([0.0, 1.0, 4.0, 9.0]), torch.tensor([0.0, 1.0, 0.5, 1.0])
    here = torch.tensor([True, True, False, True])
    # (0, 1): [-(0 - 1) + 1] = 2; (3, 0): [(9 - 0) + 1] = 10; (1, 2) and (2, 3) do not count
    assert ranking_loss(w, hard, here) == 6
    assert ranking_loss(w, hard, torch.tensor([True, False, True, False])) == 0


def test_equal_histories_give_no_nan():
    data = toy_data()
    method, ctx = ready(data)
    batch = data.train[torch.tensor([0])]
    losses = method.losses(ctx.model(batch), batch, ctx)
    assert losses["a ranking"] == 0 and method._normalise(0).isfinite().all()


def test_the_ranking_loss_trains_the_weights_in_the_right_direction():
    w = torch.tensor([0.2, 0.1], requires_grad=True)
    ranking_loss(w, torch.tensor([1.0, 0.0]), torch.ones(2, dtype=torch.bool)).backward()
    assert w.grad.tolist() == [1.0, -1.0]  # descending it lowers the harder one's weight


def test_a_modality_that_no_sample_has_gets_nothing():
    data = toy_data()
    method, ctx = ready(data)
    batch = toy_batch(data).only("a")
    losses = method.losses(ctx.model(batch), batch, ctx)
    assert list(losses) == ["fused", "a alone", "a ranking"]
    method.backward(losses, ctx)
    found = gradients(ctx.model)
    assert all((g is None) == (".b." in name) for name, g in found.items())
    assert not method.counts[:, 1].any()


@pytest.mark.parametrize("option", ["tau", "ranking", "energy", "mode"])
def test_bad_options(option):
    with pytest.raises(InputError, match=option):
        build_method("qmf", **{option: -1})


def test_it_needs_late_fusion_and_classes():
    data = toy_data()
    with pytest.raises(InputError, match="trains a Late fusion"):
        build_method("qmf").check(toy_model(data), data.task)
    numbers = toy_data(regression=True)
    with pytest.raises(InputError, match="classification only"):
        build_method("qmf").check(toy_model(numbers, "qmf"), numbers.task)
