"""A loop of the user's own trains as ``fit`` does, and cannot go wrong quietly."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import islice
from typing import Any

import pytest
import torch
from settings import CASES, build
from torch import Tensor, nn
from toy import linear_encoders, toy_data, toy_model, weights

import counterpoise as cp
from counterpoise import (
    SCHEDULES,
    ArrayData,
    Batch,
    Context,
    InputError,
    Loader,
    Method,
    Rates,
    build_model,
    fit,
)
from counterpoise.core.loader import mix
from counterpoise.data.dataset import Dataset, Split
from counterpoise.engine import epoch as epochs_of
from counterpoise.methods import Joint

EPOCHS, BATCH = 3, 16
SGD: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
every_case = pytest.mark.parametrize("case", CASES)
# Probes and teachers have an optimiser of their own, which a scheduler of the user's does not know;
# in the longer epochs of modality-valuation it goes on where that of a run waits.
OTHER_RATES = {
    *("umt", "g-blending", "g-blending online"),
    *("modality-valuation", "valuation of modalities"),
}


@cache
def samples(missing: float = 0.3) -> ArrayData:
    return toy_data(2, missing / 2, 155)


def start(
    method: Method, data: ArrayData, *, precision: str = "fp32", **options: Any
) -> tuple[Context, list[dict[str, Tensor]]]:
    """What a user writes before the loop; and the states of model and method, when asked."""
    model = build_model(data, method, width=8, precision=precision)
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    loaders = {
        "train": Loader(data.train, BATCH, shuffle=True),
        "validation": Loader(data.validation, BATCH),
    }
    ctx = Context(model, optimizer, data.task, loaders, **{"epochs": EPOCHS, **options})
    method.setup(ctx)
    return ctx, [weights(model), weights(method)]


def own_loop(case: str, scheduler: Any = None, **options: Any) -> list[dict[str, Tensor]]:
    method = build(case)
    ctx, _ = start(method, samples(), **options)
    stepped = scheduler and scheduler(ctx.optimizer)
    for epoch in range(EPOCHS):
        for batch in ctx.epoch_batches(epoch):
            method.step(batch, ctx)
            if stepped:
                stepped.step()
    return [weights(ctx.model), weights(method)]


def by_fit(case: str, precision: str = "fp32", **settings: Any) -> list[dict[str, Tensor]]:
    method, data = build(case), samples()
    model = build_model(data, method, width=8, precision=precision)
    fit(model, data, method, epochs=EPOCHS, batch_size=BATCH, **SGD, **settings)
    return [weights(model), weights(method)]


def assert_same(left: list[dict[str, Tensor]], right: list[dict[str, Tensor]]) -> None:
    """Equal to the bit; NaN is equal to NaN."""
    for mine, theirs in zip(left, right, strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            torch.testing.assert_close(
                mine[name], theirs[name], rtol=0, atol=0, equal_nan=True, msg=name
            )


@every_case
def test_trains_as_fit_does(case: str) -> None:
    assert_same(own_loop(case), by_fit(case))


@every_case
def test_accumulates_as_fit_does_and_as_one_part_does(case: str) -> None:
    parts = own_loop(case, accumulate=3)
    assert_same(parts, by_fit(case, accumulate=3))
    for mine, whole in zip(parts[0].values(), by_fit(case)[0].values(), strict=True):
        torch.testing.assert_close(mine, whole, rtol=1e-3, atol=5e-5)


@pytest.mark.slow
@every_case
def test_follows_a_schedule_as_fit_does(case: str) -> None:
    theirs = by_fit(case, schedule="cosine", warmup=1)
    assert_same(own_loop(case, rates=Rates(SCHEDULES.build("cosine"), warmup=1)), theirs)


@pytest.mark.slow
@every_case
def test_trains_by_a_scheduler_of_the_user_as_fit_does(case: str) -> None:
    steps = EPOCHS * -(-len(samples().train) // BATCH)

    def cosine(optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    mine, theirs = own_loop(case, cosine), by_fit(case, schedule="cosine")
    if case in OTHER_RATES:
        with pytest.raises(AssertionError):
            assert_same(mine, theirs)
    else:
        assert_same(mine, theirs)


@pytest.mark.slow
@every_case
def test_trains_in_bf16_as_fit_does(case: str) -> None:
    assert_same(own_loop(case, precision="bf16"), by_fit(case, precision="bf16"))


@pytest.mark.parametrize("label", ["joint", "umt", "g-blending", "mla:fusion=mean"])
def test_a_regression_trains_as_fit_does(label: str) -> None:
    """Its scale and its clipping come from the context."""
    data = toy_data(2, 0.15, 155, regression=True)
    method = cp.build_method(label)
    ctx, _ = start(method, data)
    for epoch in range(EPOCHS):
        for batch in ctx.epoch_batches(epoch):
            method.step(batch, ctx)
    theirs = cp.build_method(label)
    model = build_model(data, theirs, width=8)
    run = fit(model, data, theirs, epochs=EPOCHS, batch_size=BATCH, **SGD)
    assert_same([weights(ctx.model), weights(method)], [weights(model), weights(theirs)])
    mine = cp.evaluate(ctx.model, data, method)
    assert mine.metrics == run.evaluate(data).metrics


def test_an_epoch_that_is_not_set_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = by_fit("modality-dropout")

    def stuck(method: Method, ctx: Context, epoch: int, batches: Any = None) -> Any:
        loader = ctx.loaders["train"].epoch(epoch)
        ctx.progress.running = True
        ctx.model.train()
        for ctx.batch, batch in enumerate(loader):
            yield batch
        ctx.progress.running = False

    monkeypatch.setattr(epochs_of, "iterate", stuck)
    with pytest.raises(AssertionError):  # the masks of epoch 0 in every epoch
        assert_same(own_loop("modality-dropout"), theirs)


# What is refused.


def test_a_step_outside_of_an_epoch_is_refused() -> None:
    method = build("umt")
    ctx, before = start(method, samples())
    with pytest.raises(InputError, match=r"step of 'umt' needs an epoch that has begun"):
        method.step(samples().train[torch.arange(8)], ctx)
    for batch in ctx.epoch_batches(0):
        method.step(batch, ctx)
    with pytest.raises(InputError, match=r"ctx.epoch_batches\(epoch\)"):
        method.step(samples().train[torch.arange(8)], ctx)
    with pytest.raises(AssertionError):
        assert_same(before, [weights(ctx.model), weights(method)])


@pytest.mark.parametrize("label", ["mla", "aug", "reconboost", "modality-dropout+mla"])
def test_methods_with_their_own_step_refuse_it_too(label: str) -> None:
    method = cp.build_method(label)
    ctx, before = start(method, samples())
    with pytest.raises(InputError, match="needs an epoch that has begun"):
        method.step(samples().train[torch.arange(8)], ctx)
    assert_same(before, [weights(ctx.model), weights(method)])


def test_an_epoch_without_a_method_is_refused() -> None:
    data, model = samples(), toy_model(samples())
    ctx = Context(model, torch.optim.SGD(model.parameters(), 0.1), data.task, {})
    with pytest.raises(InputError, match=r"call method.setup\(ctx\) once"):
        next(ctx.epoch_batches(0))


@pytest.mark.parametrize("epoch", [-1, 3, True, 1.0, "0"])
def test_an_epoch_that_the_run_does_not_have_is_refused(epoch: Any) -> None:
    ctx, _ = start(Joint(), samples())
    with pytest.raises(InputError, match="epoch must be a whole number from 0 to 2, found"):
        next(ctx.epoch_batches(epoch))


def test_an_epoch_that_was_left_is_named_by_the_next() -> None:
    ctx, _ = start(method := Joint(), samples())
    for batch in ctx.epoch_batches(0):
        method.step(batch, ctx)
        break
    with pytest.raises(InputError, match="epoch 0 was left before its last batch"):
        next(ctx.epoch_batches(1))
    for batch in ctx.epoch_batches(0, islice(ctx.loaders["train"].epoch(0), 2)):
        method.step(batch, ctx)
    next(ctx.epoch_batches(1))


def test_a_method_that_the_model_does_not_fit_is_refused_at_setup() -> None:
    model = toy_model(samples(), "joint")
    ctx = Context(model, torch.optim.SGD(model.parameters(), 0.1), samples().task, {})
    with pytest.raises(InputError, match="trains a Shared fusion"):
        build("mla").setup(ctx)


@pytest.mark.parametrize("label", ["lfm", "g-blending"])
def test_a_loader_that_is_needed_is_named(label: str) -> None:
    method, data = cp.build_method(label), samples()
    model = build_model(data, method, width=8)
    loaders = {"train": Loader(data.train, BATCH)}
    ctx = Context(model, torch.optim.SGD(model.parameters(), 0.1), data.task, loaders)
    method.setup(ctx)
    with pytest.raises(InputError, match="loaders must hold 'validation'"):
        for batch in ctx.epoch_batches(0):
            method.step(batch, ctx)


def test_a_scheduler_made_before_setup_is_refused_where_it_would_miss_groups() -> None:
    method, data = build("cggm"), samples()
    model = build_model(data, method, width=8)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    ctx = Context(model, optimizer, data.task, {"train": Loader(data.train, BATCH)})
    with pytest.raises(InputError, match=r"call method.setup\(ctx\) first"):
        method.setup(ctx)


def test_parameters_of_a_method_that_the_optimizer_lacks_are_trained() -> None:
    ctx, _ = start(method := build("reconboost"), samples())
    assert any(p is method.rate for p in ctx.parameters())


# Batches of the user's own.


def test_batches_need_inputs_and_targets_only() -> None:
    x, y = torch.randn(5, 4), torch.arange(5) % 3
    batch = Batch({"a": x}, None, y, None)
    assert batch.present["a"].tolist() == [True] * 5
    assert batch.index.tolist() == [0, 1, 2, 3, 4]
    assert not batch.numbered
    assert Batch({"a": x}, target=y, index=torch.arange(5)).numbered
    with pytest.raises(InputError, match="target must hold the targets"):
        Batch({"a": x})


def parts(count: int = 4) -> list[Batch]:
    train = samples(0.0).train
    rows = torch.arange(count * 8).split(8)
    return [Batch({m: train.inputs[m][r] for m in "ab"}, target=train.target[r]) for r in rows]


def test_batches_of_ones_own_are_numbered_on() -> None:
    ctx, _ = start(Joint(), samples(0.0))
    seen = [batch.index for batch in ctx.epoch_batches(0, parts())]
    assert torch.cat(seen).tolist() == list(range(32))
    assert ctx.batches == 4
    given = [Batch(b.inputs, target=b.target, index=b.index + 7) for b in parts()]
    assert [int(b.index[0]) for b in ctx.epoch_batches(0, given)] == [7] * 4


def test_a_sample_is_dropped_in_the_same_batch_of_ones_own_as_of_the_loader() -> None:
    data = samples(0.0)
    method = cp.build_method("modality-dropout", rates=0.5, granularity="sample")
    ctx, _ = start(method, data)
    masks = [method.transform(batch, ctx).present["a"] for batch in ctx.epoch_batches(0, parts())]
    ctx, _ = start(method, data)
    ctx.loaders["train"] = Loader(data.train, 8)
    theirs = [method.transform(batch, ctx).present["a"] for batch in ctx.epoch_batches(0)]
    assert torch.equal(torch.cat(masks), torch.cat(theirs)[:32])


def test_batches_that_are_none_are_refused() -> None:
    ctx, _ = start(Joint(), samples(0.0))
    with pytest.raises(InputError, match=r"batches must hold counterpoise\.Batch objects"):
        list(ctx.epoch_batches(0, [(1, 2)]))


def test_a_method_that_draws_its_own_batches_refuses_others() -> None:
    ctx, _ = start(build("modality-valuation"), samples(0.0))
    with pytest.raises(InputError, match="'modality-valuation' draws its own batches"):
        list(ctx.epoch_batches(0, parts()))


def test_an_epoch_seeds_torch_by_seed_and_number() -> None:
    ctx, _ = start(Joint(), samples(), seed=5)
    next(ctx.epoch_batches(1))
    drawn = torch.rand(3)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(mix(5, 1))))


# Gradient accumulation.


def test_no_more_than_a_part_is_encoded_at_a_time() -> None:
    data = samples(0.0)
    encoders = linear_encoders(data, norm=True)
    model = build_model(data, encoders=encoders)
    seen: list[int] = []
    model.encoders["a"].register_forward_pre_hook(lambda _, x: seen.append(len(x[0])))
    ctx = Context(model, torch.optim.SGD(model.parameters(), 0.1), data.task, {}, accumulate=3)
    method = Joint()
    method.setup(ctx)
    for batch in ctx.epoch_batches(0, [data.train[torch.arange(16)]]):
        method.step(batch, ctx)
    assert seen == [6, 5, 5, *sorted([6, 5, 5])] or sorted(seen) == [5, 5, 5, 5, 6, 6]


def test_running_statistics_see_each_part_once() -> None:
    data = samples(0.0)
    batch = data.train[torch.arange(16)]
    model = build_model(data, encoders=linear_encoders(data, norm=True))
    ctx = Context(model, torch.optim.SGD(model.parameters(), 0.0), data.task, {}, accumulate=4)
    method = Joint()
    method.setup(ctx)
    norm = model.encoders["a"][1]
    assert isinstance(norm, nn.BatchNorm1d)
    for given in ctx.epoch_batches(0, [batch]):
        method.step(given, ctx)
    assert int(norm.num_batches_tracked) == 4


def test_dropout_in_an_encoder_draws_the_same_in_both_passes() -> None:
    data = samples(0.0)
    batch = data.train[torch.arange(16)]
    encoder = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5))
    model = build_model(data, encoders={"a": encoder, "b": nn.Linear(5, 6)})
    model.train()
    model.split_into(4)
    torch.manual_seed(0)
    features = model.encode(batch)["a"]
    kept = (features != 0).float()
    features.sum().backward()
    weight = model.encoders["a"][0].weight
    want = torch.einsum("bk,bf->kf", 2 * kept, batch.inputs["a"])
    torch.testing.assert_close(weight.grad, want)


# Weights of samples.


def weighted(data: ArrayData, factor: float) -> Dataset:
    """The same data, in which every second training sample counts ``factor`` times."""
    train = data.train
    weight = torch.ones(len(train))
    weight[::2] = factor
    split = Split(train.inputs, train.present, train.target, None, weight / weight.mean())
    return Dataset(data.task, data.splits | {"train": split}, data.name)


@every_case
def test_every_method_weighs_samples(case: str) -> None:
    found = []
    for factor in (1.0, 2.0):
        method, data = build(case), weighted(samples(), factor)
        model = build_model(data, method, width=8)
        fit(model, data, method, epochs=EPOCHS, batch_size=BATCH, **SGD)
        found.append([weights(model), weights(method)])
    assert_same(found[0], by_fit(case))
    with pytest.raises(AssertionError):
        assert_same(found[1], found[0])


@pytest.mark.parametrize(
    ("label", "ending"), [("pmr", "prototypes"), ("qmf", "alone"), ("multi-loss", "alone")]
)
def test_losses_that_a_method_forms_itself_are_weighed(label: str, ending: str) -> None:
    method = cp.build_method(label)
    ctx, _ = start(method, samples(0.0))
    for batch in ctx.epoch_batches(0):
        batch = method.transform(batch, ctx)
        for factor in (1.0, 0.0):
            weighed = replace(batch, weight=torch.full((len(batch),), factor))
            losses = method.losses(ctx.model(weighed), weighed, ctx)
            found = sum(float(x.detach()) for n, x in losses.items() if n.endswith(ending))
            assert (found > 0) == (factor > 0)
        return


def test_the_loss_is_the_mean_of_weight_times_loss() -> None:
    data = samples(0.0)
    ctx, _ = start(Joint(), data)
    batch = data.train[torch.arange(4)]
    logits = torch.randn(4, 3)
    weight = torch.tensor([0.0, 1.0, 2.0, 0.5])
    each = data.task.loss(logits, batch.target)
    found = ctx.loss(logits, replace(batch, weight=weight))
    torch.testing.assert_close(found, (each * weight).mean())
    rows = torch.tensor([True, True, False, False])
    found = ctx.loss(logits, replace(batch, weight=weight), rows)
    torch.testing.assert_close(found, (each * weight)[:2].mean())
