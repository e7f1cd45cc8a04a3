"""InfoReg: traces of gradients, the window test, and the pull towards the start of the epoch."""

import copy

import pytest
import torch
from toy import (
    gradients,
    linear_encoders,
    same,
    toy_batch,
    toy_context,
    toy_data,
    toy_model,
    weights,
)

from counterpoise import Concat, InputError, MultimodalModel, build_method, fit
from counterpoise.engine.loop import train_epoch
from counterpoise.methods.inforeg import fisher_trace, lead

SETTINGS = {"epochs": 2, "batch_size": 16, "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}


def started(modalities=2, missing=0.0, moved=True, data=None, **options):
    """A context, a method whose epoch has begun, and a batch; the encoders have moved since."""
    data = data or toy_data(modalities, missing)
    encoders = linear_encoders(data, norm=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        fusion = Concat(dict.fromkeys(encoders, 6), data.task.outputs)
        ctx = toy_context(data, MultimodalModel(encoders, fusion))
        method = build_method("inforeg", **options)
        method.setup(ctx)
        method.epoch_start(ctx)
        if moved:
            with torch.no_grad():
                for p in ctx.model.encoders.parameters():
                    p += 0.1 * torch.randn(p.shape)
    return ctx, method, toy_batch(data)


def modulated(ctx, method, batch):
    """Gradients before and after ``modulate``, and the output."""
    out = ctx.model(batch)
    method.backward(method.losses(out, batch, ctx), ctx)
    before = gradients(ctx.model)
    method.modulate(out, batch, ctx)
    return before, gradients(ctx.model), out


def gaps_by_hand(ctx, out, batch):
    """Mean lead of each modality over the others, on the samples that both have."""
    score = {m: ctx.task.score(out.unimodal[m], batch.target).detach() for m in batch.present}
    gaps = []
    for m, mask in batch.present.items():
        leads = []
        for k, other in batch.present.items():
            both = mask & other
            if k != m:
                assert both.sum() >= 8
                leads.append((score[m][both].mean() - score[k][both].mean()).item())
        gaps.append(sum(leads) / len(leads))
    return torch.tensor(gaps)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["classes", "regression", "multilabel"])
@pytest.mark.parametrize("strength", [0.95, {"a": 0.5, "b": 0.1}])
def test_the_added_term_is_the_gradient_of_half_beta_times_the_squared_distance(
    modalities, missing, kind, strength
):
    options = {} if kind == "classes" else {kind: True}
    data = toy_data(modalities, missing, **options)
    ctx, method, batch = started(data=data, strength=strength)
    starts = [copy.deepcopy(e) for e in ctx.model.encoders.values()]
    for start, snapshot in zip(starts, method.start.children(), strict=True):
        for p, s in zip(start.parameters(), snapshot.buffers(), strict=True):
            p.data.copy_(s)
    batch = data.train[torch.arange(48)]
    before, after, out = modulated(ctx, method, batch)
    gaps = gaps_by_hand(ctx, out, batch)
    assert (gaps > 0).any() and (gaps < 0).any()
    for k, (name, encoder) in enumerate(ctx.model.encoders.items()):
        b = strength.get(name, 0.0) if isinstance(strength, dict) else strength
        beta = b * gaps[k].tanh().exp() if gaps[k] > 0 else torch.tensor(0.0)
        pairs = zip(encoder.parameters(), starts[k].parameters(), strict=True)
        distance = sum((p - q.detach()).square().sum() for p, q in pairs)
        added = torch.autograd.grad(beta / 2 * distance, list(encoder.parameters()))
        for (key, _), extra in zip(encoder.named_parameters(), added, strict=True):
            key = f"encoders.{name}.{key}"
            torch.testing.assert_close(after[key], before[key] + extra, atol=1e-6, rtol=1e-5)
    assert all(torch.equal(after[k], g) for k, g in before.items() if k.startswith("fusion"))


def test_lead_by_hand():
    nan = float("nan")
    scores = torch.tensor([[0.9, 0.8, 0.7], [0.5, 0.6, 0.4], [0.1, 0.2, 0.3]])
    wanted = [(0.3 + 0.6) / 2, (-0.3 + 0.2) / 2, (-0.6 - 0.2) / 2]
    torch.testing.assert_close(lead(scores), torch.tensor(wanted))
    gone = torch.tensor([[0.9, 0.8, 0.9], [0.5, 0.6, 0.6], [nan, nan, nan]])
    torch.testing.assert_close(lead(gone), torch.tensor([0.3, -0.3, 0.0]))
    assert lead(torch.tensor([[0.9, 0.9], [nan, nan]])).tolist() == [0, 0]


def test_the_first_step_of_an_epoch_changes_nothing():
    before, after, _ = modulated(*started(moved=False))
    assert same(before, after)


def test_equal_scores_change_nothing():
    ctx, method, batch = started()
    torch.nn.init.zeros_(ctx.model.fusion.head.weight)
    before, after, _ = modulated(ctx, method, batch)
    assert same(before, after)


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("gain", [[0.1, 0.05], [0.05, 0.1], [-1.0, 0.0]])
def test_each_modality_has_a_window_of_its_own(gain, ahead, monkeypatch):
    """Open only above the threshold; one that is ahead with a closed window is left alone."""
    ctx, method, batch = started(moved=False, threshold=0.05)
    method.gain.copy_(torch.tensor(gain))
    method.epoch_start(ctx)
    with torch.no_grad():
        for p in ctx.model.encoders.parameters():
            p += 0.1
    scores = torch.full((2, 2), 0.4)
    scores[ahead] = 0.7
    monkeypatch.setattr(ctx, "scores", lambda out, batch: scores)
    before, after, _ = modulated(ctx, method, batch)
    changed = {k.split(".")[1] for k in after if not torch.equal(after[k], before[k])}
    assert changed == ({"ab"[ahead]} if gain[ahead] > 0.05 else set())


def test_the_window_compares_means_of_ten_traces():
    ctx, method, _ = started()
    traces = [[float(10 + k), float((k * 7) % 5)] for k in range(14)]
    assert method.gain.tolist() == [1, 1]
    for k, trace in enumerate(traces):
        method.trace.copy_(torch.tensor(trace))
        method.epoch_end(ctx)
        padded = torch.tensor([[0.0, 0.0]] * 11 + traces[: k + 1])
        now, then = padded[-10:].mean(0), padded[-11:-1].mean(0)
        wanted = (now - then) / now.clamp(min=1e-30)
        torch.testing.assert_close(method.gain, wanted, atol=1e-5, rtol=1e-4)
        assert method.history[-1].tolist() == trace


def test_the_trace_sums_mean_squares_of_weights_over_steps_without_the_added_term():
    data = toy_data(3, missing=0.3)
    ctx, method, _ = started(data=data, strength=5.0)
    wanted = torch.zeros(3)
    for number, batch in enumerate(ctx.loaders["train"].epoch(0)):
        ctx.batch = number
        before, after, _ = modulated(ctx, method, batch)
        assert number == 0 or not same(before, after)
        for k, name in enumerate(ctx.model.modalities):
            wanted[k] += before[f"encoders.{name}.0.weight"].square().mean()
        ctx.update()
    torch.testing.assert_close(method.trace, wanted)
    method.epoch_end(ctx)
    torch.testing.assert_close(method.history[-1], wanted)
    method.epoch_start(ctx)
    assert method.trace.tolist() == [0, 0, 0]


def test_the_trace_adds_layers_and_leaves_vectors_out():
    layers = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1), torch.nn.ReLU())
    for p in layers.parameters():
        p.grad = torch.arange(float(p.numel())).view_as(p)
    wanted = torch.tensor((0 + 1 + 4 + 9 + 16 + 25) / 6 + (0 + 1 + 4) / 3)
    torch.testing.assert_close(fisher_trace(list(layers.parameters()), wanted), wanted)


def test_the_snapshot_is_of_the_epochs_start_and_not_in_the_checkpoint():
    ctx, method, _ = started()
    assert set(method.state_dict()) == {"history", "gain", "trace"}
    for epoch in range(2):
        now = [p.detach().clone() for p in ctx.model.encoders.parameters()]
        train_epoch(method, ctx, epoch)
        kept = list(method.start.buffers())
        assert all(torch.equal(s, p) for s, p in zip(kept, now, strict=True))


@pytest.mark.parametrize("options", [{"strength": 0.0}, {"strength": {}}, {"threshold": 1.0}])
def test_without_strength_or_window_it_is_the_sum_of_all_losses(options):
    data = toy_data(missing=0.3)
    models = [toy_model(data, name, unimodal="slice") for name in ("inforeg", "multi-loss")]
    fit(models[0], data, build_method("inforeg", **options), **SETTINGS)
    fit(models[1], data, "multi-loss", **SETTINGS)
    assert same(weights(models[0]), weights(models[1]))
    other = toy_model(data, "inforeg")
    fit(other, data, "inforeg", **SETTINGS)
    assert not same(weights(models[0]), weights(other))


def test_a_modality_that_no_sample_has_is_not_held():
    ctx, method, batch = started(3)
    out = ctx.model(batch.only("a", "c"))
    method.backward(method.losses(out, batch.only("a", "c"), ctx), ctx)
    method.modulate(out, batch.only("a", "c"), ctx)
    assert all(p.grad is None for p in ctx.model.encoder_parameters("b"))
    assert method.trace[1] == 0 and bool(method.trace.isfinite().all())
    method.epoch_end(ctx)
    assert method.gain.tolist() == [1, 0, 1]


def test_errors():
    for strength in (-1, {"a": -0.5}, "1"):
        with pytest.raises(InputError, match=r"strength.* must be a number from 0, found"):
            build_method("inforeg", strength=strength)
    with pytest.raises(InputError, match="threshold must be a number from 0 to 1, found 2"):
        build_method("inforeg", threshold=2)
    data = toy_data()
    with pytest.raises(InputError, match="unknown modality in strength 'x'; known: a, b"):
        fit(toy_model(data), data, build_method("inforeg", strength={"x": 0.5}))
