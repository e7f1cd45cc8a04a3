"""MLA: alternating steps through one shared, projected head."""

import contextlib
import copy
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F
from toy import Calls, linear_encoders, same, toy_batch, toy_context, toy_data, toy_model, weights

from counterpoise import InputError, MultimodalModel, Shared, build_method, fit


def model_of(data):
    encoders = linear_encoders(data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return MultimodalModel(encoders, Shared(dict.fromkeys(encoders, 6), 3))


def mla(ctx=None, **options):
    method = build_method("mla", **options)
    if ctx is not None:
        method.setup(ctx)
    return method


def run_epoch(method, ctx):
    for number, batch in enumerate(ctx.loaders["train"].epoch(ctx.epoch)):
        ctx.batch = number
        method.step(batch, ctx)


def watch(ctx, look):
    """Call ``look()`` after every update."""
    update = ctx.update

    def spied():
        update()
        look()

    ctx.update = spied


def by_hand(model, ctx, *, projector="on", update_order="after"):
    """One epoch in plain PyTorch, an optimiser for each part; the final projector."""
    head, settings = model.fusion.head, ctx.optimizer.defaults
    own = {k: settings[k] for k in ("lr", "momentum", "weight_decay")}
    parts = {m: torch.optim.SGD(e.parameters(), **own) for m, e in model.encoders.items()}
    shared = torch.optim.SGD(head.parameters(), **own)
    matrix, first = torch.eye(6), True
    for t, batch in enumerate(ctx.loaders["train"].epoch(0)):
        alpha = 0.1 ** (1 + t / ctx.batches)
        for name, mask in batch.present.items():
            if not mask.any():
                continue
            z = model.encoders[name](batch.inputs[name][mask])
            F.cross_entropy(head(z), batch.target[mask]).backward()
            r = z.detach().mean(0)
            k = matrix @ r
            updated = matrix - k[:, None] * k[None, :] / (alpha + r @ k)
            if projector == "normalised":
                updated = updated / updated.square().sum().sqrt()
            if projector != "off":
                used = updated if update_order == "before" else matrix
                head.weight.grad = head.weight.grad if first else head.weight.grad @ used
                matrix = updated
            first = False
            for optimizer in (parts[name], shared):
                optimizer.step()
                optimizer.zero_grad()
    return matrix


@pytest.mark.parametrize("update_order", ["after", "before"])
@pytest.mark.parametrize("projector", ["on", "off", "normalised"])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_an_epoch_equals_one_written_by_hand(projector, update_order, missing):
    data = toy_data(3, missing=missing)
    options = {"projector": projector, "update_order": update_order}
    ctx = toy_context(data, model_of(data), weight_decay=0.01)
    bare, method = copy.deepcopy(ctx.model), mla(ctx, **options)
    matrix = by_hand(bare, ctx, **options)
    run_epoch(method, ctx)
    torch.testing.assert_close(method.projector_matrix, matrix, rtol=1e-4, atol=1e-5)
    for key, value in weights(bare).items():
        torch.testing.assert_close(weights(ctx.model)[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("update_order", ["after", "before"])
def test_the_first_step_is_the_first_that_happens(update_order):
    """It is not projected, also where the first batch lacks the first modality."""
    data = toy_data()
    ctx = toy_context(data, model_of(data))
    data.train.present["a"][ctx.loaders["train"].order(0)[:16]] = False
    bare, method = copy.deepcopy(ctx.model), mla(ctx, update_order=update_order)
    by_hand(bare, ctx, update_order=update_order)
    run_epoch(method, ctx)
    for key, value in weights(bare).items():
        torch.testing.assert_close(weights(ctx.model)[key], value, rtol=1e-4, atol=1e-5)


def two_steps(power, **options):
    """Plain SGD on "a", then "b", with ``alpha = 0.1 ** (1 + power)``.

    Returns the mean feature of "a", the head before, between and after, its raw gradients, alpha.
    """
    data = toy_data()
    model = model_of(data)
    ctx = toy_context(data, model, momentum=0.0, weight_decay=0.0)
    ctx.epoch, ctx.batch = 1, power * ctx.batches
    batch, head = toy_batch(data), model.fusion.head
    r = model.encoders["a"](batch.inputs["a"]).mean(0).detach()
    heads, raw = [head.weight.detach().clone()], []
    ctx.sync_grads = lambda: raw.append(head.weight.grad.clone())
    watch(ctx, lambda: heads.append(head.weight.detach().clone()))
    mla(ctx, **options).step(batch, ctx)
    return r, heads, raw, 0.1 ** (1 + power)


@pytest.mark.parametrize("power", [0, 1, 2, 3])
@pytest.mark.parametrize("update_order", ["after", "before"])
def test_a_step_changes_what_the_head_says_of_a_seen_mean_by_order_alpha(update_order, power):
    """``|dH r| <= lr |g| |P r| = lr |g| |r| alpha / (alpha + |r|^2)``.

    "after": what the step before saw. "before": what the step itself saw.
    """
    r, heads, raw, alpha = two_steps(power, update_order=update_order)
    k = 1 if update_order == "after" else 0
    limit = 0.1 * raw[k].norm() * r.norm() * alpha / (alpha + r @ r)
    assert float((heads[k + 1] - heads[k]).mv(r).norm()) < 1.001 * float(limit) + 1e-6
    if update_order == "after":  # a step's own direction is free
        torch.testing.assert_close(heads[1] - heads[0], -0.1 * raw[0])


@pytest.mark.parametrize("power", [0, 3])
def test_without_the_projector_seen_means_are_disturbed(power):
    r, heads, raw, _ = two_steps(power, projector="off")
    for k in (0, 1):
        moved = heads[k + 1] - heads[k]
        torch.testing.assert_close(moved, -0.1 * raw[k])
        assert float(moved.mv(r).norm()) > 0.05 * float(moved.norm() * r.norm())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("projector", ["on", "off", "normalised"])
def test_a_step_leaves_the_other_encoders_to_the_bit(projector, optimizer):
    """With momentum and decay on: gradients of the others are None, not zero."""
    data = toy_data(3)
    ctx = toy_context(data, model_of(data), optimizer=optimizer, weight_decay=0.1, lr=0.01)
    method = mla(ctx, projector=projector)
    run_epoch(method, ctx)  # every encoder has momentum now
    states = [{m: weights(e) for m, e in ctx.model.encoders.items()}]
    watch(ctx, lambda: states.append({m: weights(e) for m, e in ctx.model.encoders.items()}))
    method.step(toy_batch(data), ctx)
    assert len(states) == 4
    for k, name in enumerate(data.modalities):
        changed = {m for m in data.modalities if not same(states[k][m], states[k + 1][m])}
        assert changed == {name}


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_a_step_encodes_each_present_row_once(missing):
    """Only the modality in turn is encoded; another's BatchNorm would see its rows M times."""
    data = toy_data(3, missing=missing)
    ctx, batch = toy_context(data, model_of(data)), toy_batch(data)
    calls = {m: Calls(encoder) for m, encoder in ctx.model.encoders.items()}
    mla(ctx).step(batch, ctx)
    assert {m: c.rows for m, c in calls.items()} == {
        m: [int(mask.sum())] for m, mask in batch.present.items()
    }


def test_mean_features_are_over_the_present_only(monkeypatch):
    data = toy_data(missing=0.4)
    ctx, batch, seen = toy_context(data, model_of(data)), toy_batch(data), []
    before = copy.deepcopy(ctx.model)

    def spy(projector, mean, alpha):
        seen.append(mean)
        return projector

    monkeypatch.setattr("counterpoise.methods.mla.rls_update", spy)
    mla(ctx).step(batch, ctx)
    mask = batch.present["a"]
    wanted = before.encoders["a"](batch.inputs["a"][mask]).mean(0).detach()
    torch.testing.assert_close(seen[0], wanted)


def test_alpha_falls_from_a_tenth_to_a_hundredth_in_each_epoch(monkeypatch):
    data, alphas = toy_data(samples=400), []
    ctx = toy_context(data, model_of(data), batch_size=4)

    def spy(projector, mean, alpha):
        alphas.append(alpha)
        return projector

    monkeypatch.setattr("counterpoise.methods.mla.rls_update", spy)
    method, count = mla(ctx), ctx.batches
    for epoch in range(2):
        ctx.epoch = epoch
        run_epoch(method, ctx)
    assert alphas[0] == pytest.approx(0.1)
    assert 0.01 < alphas[-1] < 0.0105
    wanted = [0.1 ** (1 + t / count) for t in range(count) for _ in "ab"]
    assert alphas == pytest.approx(wanted + wanted)


def test_the_normalised_projector_has_norm_one():
    data = toy_data()
    ctx = toy_context(data, model_of(data))
    method = mla(ctx, projector="normalised")
    run_epoch(method, ctx)
    assert float(method.projector_matrix.norm()) == pytest.approx(1, abs=1e-5)


def test_the_projector_only_ever_shrinks():
    data = toy_data()
    ctx = toy_context(data, model_of(data))
    method, traces = mla(ctx), [6.0]
    watch(ctx, lambda: traces.append(float(method.projector_matrix.trace())))
    run_epoch(method, ctx)
    assert all(x >= y for x, y in pairwise(traces))
    eigenvalues = torch.linalg.eigvalsh(method.projector_matrix.double())
    assert eigenvalues.min() > -1e-6
    assert eigenvalues.max() <= 1 + 1e-6


@pytest.mark.parametrize("reset_every", ["never", "epoch"])
def test_reset_every(reset_every):
    data = toy_data()
    ctx = toy_context(data, model_of(data))
    method = mla(ctx, reset_every=reset_every)
    run_epoch(method, ctx)
    worn = method.projector_matrix.clone()
    assert not torch.equal(worn, torch.eye(6))
    method.epoch_start(ctx)
    wanted = torch.eye(6) if reset_every == "epoch" else worn
    assert torch.equal(method.projector_matrix, wanted)


def orders(seed=0, order="shuffle"):
    """The order of the modalities in each batch of two epochs."""
    data, found = toy_data(3), []
    ctx = toy_context(data, model_of(data), seed=seed)
    method = mla(ctx, order=order)
    for epoch in range(2):
        for number, batch in enumerate(ctx.loaders["train"].epoch(epoch)):
            ctx.epoch, ctx.batch = epoch, number
            found.append("".join(method.step(batch, ctx)))
            torch.rand(1)
    return found


def test_the_shuffled_order_is_new_in_each_batch_and_reproducible():
    found = orders()
    assert found == orders()
    assert found != orders(seed=1)
    assert {"".join(sorted(o)) for o in found} == {"abc"}
    assert len(set(found)) > 3
    assert set(orders(order="fixed")) == {"abc"}


def test_a_modality_that_no_sample_has_is_skipped():
    data = toy_data(3)
    ctx = toy_context(data, model_of(data))
    method = mla(ctx)
    run_epoch(method, ctx)
    before = weights(ctx.model.encoders["b"])
    assert list(method.step(toy_batch(data).only("a", "c"), ctx)) == ["a", "c"]
    assert same(before, weights(ctx.model.encoders["b"]))


def test_released_trains_without_a_projector_to_the_bit():
    data = toy_data(missing=0.3)
    runs = [
        fit(toy_model(data, "mla"), data, mla(**options), epochs=2, batch_size=16)
        for options in ({"mode": "released"}, {"projector": "off"}, {})
    ]
    released, off, paper = (weights(run.model) for run in runs)
    assert same(released, off)
    assert not same(off, paper)
    assert torch.equal(runs[0].method.projector_matrix, torch.eye(8))


def test_uneven_widths_are_mapped_and_their_maps_step_with_their_encoder():
    data = toy_data()
    encoders = {"a": linear_encoders(data)["a"], "b": linear_encoders(data, width=4)["b"]}
    model = MultimodalModel(encoders, Shared({"a": 6, "b": 4}, 3))
    ctx = toy_context(data, model, weight_decay=0.1)
    method = mla(ctx)
    run_epoch(method, ctx)
    before = weights(model.fusion.maps)
    method.step(toy_batch(data).only("a"), ctx)
    after = weights(model.fusion.maps)
    assert {k for k in before if not torch.equal(before[k], after[k])} == {"a.weight", "a.bias"}


def test_with_extra_heads_the_shared_head_is_trained_all_the_same():
    """Or the model is refused."""
    data = toy_data()
    model = toy_model(data, "mla", unimodal="aux")
    before = weights(model.fusion.head)
    with contextlib.suppress(InputError):
        fit(model, data, "mla", epochs=1)
        assert not same(weights(model.fusion.head), before)


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_prediction_mixes_the_present_by_their_entropies(missing):
    data = toy_data(3, missing=missing)
    model, batch = model_of(data), toy_batch(data)
    out, found = model(batch), mla().predict(model, batch)
    for i in range(len(batch)):
        here = [m for m in data.modalities if batch.present[m][i]]
        u = torch.stack([out.unimodal[m][i] for m in here])
        p = u.softmax(1)
        e = -(p * p.log()).sum(1)
        share = (e.max() - e).exp() / (e.max() - e).exp().sum()
        torch.testing.assert_close(found[i], (share[:, None] * u).sum(0))


def test_equal_entropies_give_the_mean():
    data = toy_data()
    model, batch = model_of(data), toy_batch(data)
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder.weight.zero_()
        model.encoders["b"].bias.copy_(model.encoders["a"].bias)
    torch.testing.assert_close(mla().predict(model, batch), model(batch).logits)


def test_mean_fusion_is_the_logits():
    data = toy_data(missing=0.4)
    model, batch = model_of(data), toy_batch(data)
    assert torch.equal(mla(fusion="mean").predict(model, batch), model(batch).logits)


def test_prediction_of_a_sample_ignores_the_rest_of_the_batch():
    data = toy_data(3, missing=0.4)
    model, batch = model_of(data).eval(), toy_batch(data)
    whole = mla().predict(model, batch)
    for i in range(len(batch)):
        alone = mla().predict(model, data.train[torch.tensor([i])])
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-5, atol=1e-6)


def test_released_takes_one_weight_per_batch_from_entropies_over_its_samples():
    data = toy_data()
    model, batch = model_of(data).eval(), toy_batch(data)
    logits = torch.stack(list(model(batch).unimodal.values()))
    p = logits.softmax(1)
    e = -(p * p.log()).sum((1, 2))
    share = (e.max() - e).exp() / (e.max() - e).exp().sum()
    wanted = share[0] * logits[0] + share[1] * logits[1]
    method = mla(mode="released")
    torch.testing.assert_close(method.predict(model, batch), wanted)
    one = data.train[torch.tensor([0])]  # a batch of one: no entropy, equal weights
    torch.testing.assert_close(method.predict(model, one), model(one).logits)


def test_regression_needs_the_mean():
    data = toy_data(regression=True)
    with pytest.raises(InputError, match="entropy, which needs classification"):
        fit(toy_model(data, "mla"), data, "mla")
    run = fit(toy_model(data, "mla"), data, mla(fusion="mean"), epochs=1)
    assert run.history[0]["validation"]["a+b"]["mae"] > 0


def test_it_needs_a_shared_head():
    data = toy_data()
    with pytest.raises(InputError, match="method 'mla' trains a Shared fusion, found Concat"):
        fit(toy_model(data), data, "mla")


@pytest.mark.parametrize(
    "option", ["projector", "update_order", "order", "reset_every", "fusion", "mode"]
)
def test_errors(option):
    with pytest.raises(InputError, match=f"unknown value for {option} 'x'"):
        mla(**{option: "x"})
