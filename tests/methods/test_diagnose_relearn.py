"""D&R: encoders pulled back to their start by the gap between two purities."""

import math

import pytest
import torch
from torch import nn
from toy import callback, linear_encoders, same, toy_context, toy_data, weights

from counterpoise import Concat, InputError, MultimodalModel, build_method, fit
from counterpoise.data.dataset import Split
from counterpoise.methods.measures import cluster_purity

PURITY = "counterpoise.methods.diagnose_relearn.cluster_purity"
GAPS = {"a": (0.9, 0.7), "b": (0.5, 0.6)}  # train, validation


@pytest.fixture
def purities(monkeypatch):
    """Set the purities to come; the calls so far."""
    calls = []

    def set_to(gaps):
        values = [p for pair in gaps.values() for p in pair]
        calls.clear()

        def fake(features, target, clusters):
            calls.append((features, target, clusters))
            return values[(len(calls) - 1) % len(values)]

        monkeypatch.setattr(PURITY, fake)
        return calls

    return set_to


def trained(data=None, encoders=None, optimizer="sgd", **options):
    """A context and a method after 5 steps, the encoders' start, and their weights now."""
    data = data or toy_data()
    encoders = encoders or linear_encoders(data, norm=True)
    model = MultimodalModel(encoders, Concat(dict.fromkeys(encoders, 6), 3))
    ctx = toy_context(data, model, optimizer=optimizer, lr=0.05)
    method = build_method("diagnose-relearn", **{"every": 1, **options})
    method.setup(ctx)
    start = weights(model.encoders)
    for batch in ctx.loaders["train"].epoch(0):
        method.step(batch, ctx)
    ctx.epoch = 1
    return ctx, method, start, weights(model.encoders)


def is_statistic(key):
    return "running" in key or "num_batches" in key


def test_equal_purities_leave_everything_to_the_bit(purities):
    purities({"a": (0.8, 0.8), "b": (0.4, 0.4)})
    ctx, method, start, before = trained()
    state = {p: s["momentum_buffer"].clone() for p, s in ctx.optimizer.state.items()}
    method.epoch_end(ctx)
    assert int(method.done) == 1
    assert same(weights(ctx.model.encoders), before)
    assert not same(start, before)
    for p, buffer in state.items():
        assert torch.equal(ctx.optimizer.state[p]["momentum_buffer"], buffer)


@pytest.mark.parametrize("batch_norm", ["recompute", "interpolate", "keep"])
def test_an_endless_strength_restores_the_start_exactly(purities, batch_norm):
    purities(GAPS)
    ctx, method, start, _ = trained(strength=1e9, batch_norm=batch_norm)
    method.epoch_end(ctx)
    after = weights(ctx.model.encoders)
    for key, value in after.items():
        if not is_statistic(key) or (batch_norm == "interpolate" and "running" in key):
            assert torch.equal(value, start[key]), key


@pytest.mark.parametrize("strength", [0.5, 3.0])
def test_the_pull_is_linear_by_tanh_of_strength_times_gap(purities, strength):
    """``theta' - theta_0 = (1 - a)(theta - theta_0)``, each modality by its own gap."""
    purities(GAPS)
    ctx, method, start, before = trained(strength=strength)
    head = weights(ctx.model.fusion)
    method.epoch_end(ctx)
    after = weights(ctx.model.encoders)
    pulls = [math.tanh(strength * 0.2), math.tanh(strength * 0.1)]
    torch.testing.assert_close(method.pulls, torch.tensor(pulls))
    torch.testing.assert_close(method.purities, torch.tensor([list(p) for p in GAPS.values()]))
    for key in (k for k in start if not is_statistic(k)):
        a = pulls[0] if key.startswith("a.") else pulls[1]
        assert not torch.equal(start[key], before[key])
        torch.testing.assert_close(
            after[key] - start[key], (1 - a) * (before[key] - start[key]), rtol=1e-4, atol=1e-6
        )
    assert same(weights(ctx.model.fusion), head)


def test_weights_are_changed_in_place(purities):
    purities(GAPS)
    ctx, method, _, _ = trained()
    where = [p.data_ptr() for p in ctx.parameters()]
    method.epoch_end(ctx)
    assert where == [p.data_ptr() for p in ctx.parameters()]


def test_the_start_is_a_copy_in_the_state(purities):
    purities(GAPS)
    ctx, method, start, _ = trained()
    encoder = ctx.model.encoders["a"]
    kept = list(method.start.get_submodule("0").buffers())
    names = [n for n, _ in (*encoder.named_parameters(), *encoder.named_buffers())]
    assert all(torch.equal(t, start[f"a.{n}"]) for n, t in zip(names, kept, strict=True))
    assert {"done", "purities", "pulls"} < set(method.state_dict())


def test_statistics_are_kept_if_asked(purities):
    purities(GAPS)
    ctx, method, _, before = trained(batch_norm="keep")
    method.epoch_end(ctx)
    after = weights(ctx.model.encoders)
    for key in filter(is_statistic, before):
        assert torch.equal(after[key], before[key])


def test_statistics_are_interpolated_if_asked(purities):
    purities(GAPS)
    ctx, method, start, before = trained(batch_norm="interpolate")
    method.epoch_end(ctx)
    after = weights(ctx.model.encoders)
    for key in (k for k in before if "running" in k):
        a = math.tanh(0.6) if key.startswith("a.") else math.tanh(0.3)
        torch.testing.assert_close(after[key], a * start[key] + (1 - a) * before[key])
        assert torch.equal(after["a.1.num_batches_tracked"], before["a.1.num_batches_tracked"])


def by_class(data):
    """The same data, its training samples in the order of their classes."""
    split = data.train
    rows = split.target.argsort(stable=True)
    data.splits["train"] = Split(
        {m: x[rows] for m, x in split.inputs.items()},
        {m: mask[rows] for m, mask in split.present.items()},
        split.target[rows],
    )
    return data


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_recomputed_statistics_are_those_of_the_training_data(purities, ordered, missing):
    """In whatever order it lies: batches of one class would hide the spread between classes."""
    purities(GAPS)
    data = toy_data(samples=400, missing=missing)
    ctx, method, _, _ = trained(by_class(data) if ordered else data)
    modes = [m.training for m in ctx.model.modules()]
    method.epoch_end(ctx)
    for name, encoder in ctx.model.encoders.items():
        rows = data.train.inputs[name][data.train.present[name]]
        inner = encoder[0](rows).detach()
        spread = inner.std(0)
        error = (encoder[1].running_mean - inner.mean(0)).abs() / spread
        assert float(error.max()) < 0.1
        torch.testing.assert_close(encoder[1].running_var, inner.var(0), rtol=0.25, atol=0)
        assert encoder[1].momentum == 0.1
    assert modes == [m.training for m in ctx.model.modules()]


def test_statistics_of_an_encoder_that_is_not_pulled_stay(purities):
    purities({"a": (0.9, 0.7), "b": (0.5, 0.5)})
    ctx, method, _, before = trained()
    method.epoch_end(ctx)
    after = weights(ctx.model.encoders)
    assert all(torch.equal(after[k], before[k]) for k in before if k.startswith("b."))
    assert not torch.equal(after["a.1.running_mean"], before["a.1.running_mean"])


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("moments", ["scale", "reset", "keep"])
def test_moments(purities, optimizer, moments):
    purities(GAPS)
    ctx, method, _, _ = trained(optimizer=optimizer, moments=moments)
    before = {
        p: {k: v.clone() for k, v in s.items() if isinstance(v, torch.Tensor)}
        for p, s in ctx.optimizer.state.items()
    }
    method.epoch_end(ctx)
    pulled = {
        p: math.tanh(3 * gap)
        for name, gap in (("a", 0.2), ("b", 0.1))
        for p in ctx.model.encoders[name].parameters()
    }
    keys = {"sgd": {"momentum_buffer"}, "adam": {"exp_avg", "exp_avg_sq"}}[optimizer]
    for p, old in before.items():
        new = ctx.optimizer.state.get(p, {})
        if p in pulled and moments == "reset":
            assert not new
            continue
        factor = 1 - pulled[p] if p in pulled and moments == "scale" else 1
        assert keys <= set(old)
        for key, value in old.items():
            torch.testing.assert_close(new[key], value * (factor if key in keys else 1))
    for batch in ctx.loaders["train"].epoch(1):  # the optimiser goes on
        method.step(batch, ctx)


def test_the_count_of_adams_steps_is_no_moment(purities):
    """A parameter of one number has the shape of that count."""

    class Scaled(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.linear, self.scale = nn.Linear(width, 6), nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return self.scale * self.linear(x)

    purities(GAPS)
    ctx, method, _, _ = trained(encoders={"a": Scaled(4), "b": Scaled(5)}, optimizer="adam")
    scale = ctx.model.encoders["a"].scale
    before = float(ctx.optimizer.state[scale]["step"])
    method.epoch_end(ctx)
    assert float(ctx.optimizer.state[scale]["step"]) == before


def fired(purities, epochs, **options):
    """In which epochs anything was diagnosed."""
    calls, found = purities(GAPS), []
    ctx, method, _, _ = trained(**options)
    ctx.epochs = epochs
    for ctx.epoch in range(epochs):
        count = len(calls)
        method.epoch_end(ctx)
        if len(calls) > count:
            found.append(ctx.epoch)
    assert int(method.done) == len(found)
    return found


@pytest.mark.parametrize(
    ("epochs", "options", "wanted"),
    [
        (90, {"every": None}, [20, 40, 60]),  # the paper's
        (45, {"every": None}, [10, 20, 30]),
        (10, {"every": 3}, [3, 6]),  # never after the last epoch
        (10, {"every": 1, "times": 2}, [1, 2]),
        (10, {"every": 1, "times": 0}, []),
        (1, {"every": 1}, []),  # never after the first epoch
    ],
)
def test_epochs_in_which_it_acts(purities, epochs, options, wanted):
    assert fired(purities, epochs, batch_norm="keep", **options) == wanted


def test_it_looks_at_present_samples_of_train_and_validation(purities):
    calls = purities(GAPS)
    data = toy_data(missing=0.2, samples=200)
    ctx, method, _, _ = trained(data)
    wanted = {split: ctx.features(split) for split in ("train", "validation")}
    method.epoch_end(ctx)
    assert len(calls) == 4
    order = [(s, m) for m in "ab" for s in ("train", "validation")]
    for (split, name), (features, target, clusters) in zip(order, calls, strict=True):
        if name == "a":  # b is looked at after a was pulled, by the features of before
            assert torch.equal(features, wanted[split][name][0])
        assert torch.equal(target, data.splits[split].target[data.splits[split].present[name]])
        assert clusters == 3


def test_a_modality_with_too_few_samples_is_skipped(purities):
    calls = purities({"b": GAPS["b"]})
    data = toy_data()
    data.validation.present["a"][14:] = False  # 14 < 5 * 3
    ctx, method, _, before = trained(data)
    with pytest.warns(
        RuntimeWarning, match="leaves 'a' alone: 14 samples in a split for 3 classes"
    ):
        method.epoch_end(ctx)
    after = weights(ctx.model.encoders)
    assert len(calls) == 2
    assert all(torch.equal(after[k], before[k]) for k in before if k.startswith("a."))
    assert not torch.equal(after["b.0.weight"], before["b.0.weight"])
    data.validation.present["a"][14] = True
    method.epoch_end(ctx)
    assert len(calls) == 6


def test_it_diagnoses_by_real_purities_too():
    ctx, method, _, _ = trained()
    features = {s: ctx.features(s) for s in ("train", "validation")}
    wanted = [[cluster_purity(*features[s][m], 3) for s in features] for m in "ab"]
    method.epoch_end(ctx)
    torch.testing.assert_close(method.purities, torch.tensor(wanted))
    gap = (method.purities[:, 0] - method.purities[:, 1]).abs()
    torch.testing.assert_close(method.pulls, (3 * gap).tanh())


def test_before_it_acts_it_is_joint_training_to_the_bit():
    data = toy_data()
    runs = []
    for method in ("joint", build_method("diagnose-relearn", every=2)):
        encoders = linear_encoders(data, norm=True)
        torch.manual_seed(0)
        model = MultimodalModel(encoders, Concat(dict.fromkeys(encoders, 6), 3))
        states = []
        fit(
            model, data, method, epochs=4, lr=0.1,
            callbacks=[callback(on_epoch=lambda _, m=model, s=states: s.append(weights(m)))],
        )  # fmt: skip
        runs.append(states)
    joint, relearn = runs
    assert same(joint[0], relearn[0]) and same(joint[1], relearn[1])
    assert not same(joint[2], relearn[2])


def test_errors():
    with pytest.raises(InputError, match="every must be a whole number from 1, found 0"):
        build_method("diagnose-relearn", every=0)
    with pytest.raises(InputError, match="unknown value for batch_norm 'recomputed'; did you mean"):
        build_method("diagnose-relearn", batch_norm="recomputed")
    with pytest.raises(InputError, match="unknown value for moments 'x'"):
        build_method("diagnose-relearn", moments="x")
    data = toy_data(regression=True)
    ctx = toy_context(data)
    with pytest.raises(InputError, match="has a meaning for classification only, found regression"):
        fit(ctx.model, data, "diagnose-relearn")
