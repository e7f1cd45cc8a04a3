"""Batches of a user's own, and a regression's own loop: what is refused, and by which line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from toy import toy_data, toy_model, weights

import counterpoise as cp
from counterpoise import Batch, Context, InputError, Loader, NotFiniteError, Regression

DATA = toy_data(2, 0.0, 60)


def good() -> Batch:
    train = DATA.train
    return Batch({m: train.inputs[m][:6] for m in "ab"}, target=train.target[:6])


def start(data: Any = DATA, label: str = "joint", **options: Any) -> tuple[Context, cp.Method]:
    method = cp.build_method(label)
    model = toy_model(data, method)
    optimizer = torch.optim.SGD(model.parameters(), options.pop("lr", 0.1))
    loaders = options.pop("loaders", {"train": Loader(data.train, 16)})
    ctx = Context(model, optimizer, data.task, loaders, **{"epochs": 3, **options})
    method.setup(ctx)
    return ctx, method


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inputs": {"A": torch.zeros(6, 4)}, "present": None}, "unknown modality in a batch 'A'"),
        ({"inputs": {"a": torch.zeros(5, 4)}}, r"inputs\['a'\] of a batch must be a tensor of 6 r"),
        ({"inputs": {"a": [[0.0] * 4] * 6}}, "as many as there are targets, found list"),
        ({"inputs": {"a": torch.zeros(6, 4).double()}}, "must be float32, found float64; call"),
        ({"index": torch.arange(6).float()}, r"index of a batch must be torch.int64 \[6\] on the"),
        ({"present": {"a": torch.ones(6)}}, r"present\['a'\] of a batch must be torch.bool \[6\]"),
        ({"present": {"a": torch.ones(3, dtype=torch.bool)}}, r"found torch.bool \[3\] on cpu"),
        ({"target": torch.full((6,), -100)}, r"target of a batch must lie in 0\.\.2"),
        ({"target": torch.zeros(6, 1)}, "target of a batch must hold one class number per sample"),
        ({"target": [0] * 6}, "target of a batch must be a tensor, found list"),
        ({"weight": torch.ones(5)}, r"weight of a batch must be a tensor of floats \[6\]"),
        ({"weight": torch.tensor([1.0, 1, 1, 1, 1, -1])}, "must be finite and at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str) -> None:
    ctx, _ = start()
    with pytest.raises(InputError, match=said):
        next(ctx.epoch_batches(0, [replace(good(), **changes)]))


@pytest.mark.parametrize("label", ["joint", "mla", "qmf", "ogm-ge"])
def test_a_modality_that_a_batch_leaves_out_is_absent(label: str) -> None:
    ctx, method = start(label=label)
    before = weights(ctx.model.encoders["b"])
    part = Batch({"a": good().inputs["a"]}, target=good().target)
    for batch in ctx.epoch_batches(0, [part]):
        assert not batch.present["b"].any()
        method.step(batch, ctx)
    assert all(torch.equal(x, before[n]) for n, x in weights(ctx.model.encoders["b"]).items())


def test_chains_take_batches_unless_a_part_draws_its_own() -> None:
    ctx, _ = start(label="modality-dropout+ogm-ge")
    assert len(list(ctx.epoch_batches(0, [good()]))) == 1
    ctx, _ = start(label="modality-valuation+ogm-ge")
    with pytest.raises(InputError, match="draws its own batches"):
        next(ctx.epoch_batches(0, [good()]))


def test_weights_that_are_no_numbers_end_the_loop() -> None:
    ctx, method = start(lr=1e30)
    with pytest.raises(NotFiniteError, match="weights became infinite or no numbers in epoch 0"):
        for batch in ctx.epoch_batches(0):
            method.step(batch, ctx)


def test_an_optimizer_of_another_model_is_refused() -> None:
    model, other = toy_model(DATA), toy_model(DATA)
    ctx = Context(model, torch.optim.SGD(other.parameters(), 0.1), DATA.task, {})
    with pytest.raises(InputError, match="optimizer must hold parameters of the model"):
        cp.build_method("joint").setup(ctx)


@pytest.mark.parametrize("bad", [0, -1, float("inf"), float("nan"), "1", True])
def test_max_norm_is_checked(bad: Any) -> None:
    with pytest.raises(InputError, match=r"max_norm must be a (finite )?number"):
        start(max_norm=bad)


def test_a_schedule_that_waits_for_validation_is_told_of_it() -> None:
    rates = cp.Rates(cp.SCHEDULES.build("plateau:patience=0"))
    ctx, method = start(rates=rates)
    for batch in ctx.epoch_batches(0):
        method.step(batch, ctx)
    with pytest.raises(InputError, match=r"knows 0 values before epoch 1; .*values\.append"):
        next(ctx.epoch_batches(1))
    rates.values.append(0.5)
    next(ctx.epoch_batches(1))


# Regression.


def test_a_regression_needs_its_scale() -> None:
    data = toy_data(2, 0.0, 60, regression=True)
    ctx, _ = start(data, loaders={})
    with pytest.raises(InputError, match="a regression takes its scale from the training targets"):
        next(ctx.epoch_batches(0, [data.train[torch.arange(6)]]))


def test_targets_of_another_shape_are_refused() -> None:
    data = toy_data(2, 0.0, 60, regression=True)
    ctx, _ = start(data)
    batch = data.train[torch.arange(6)]
    with pytest.raises(InputError, match=r"target of a batch must be float \[N, 1\]"):
        next(ctx.epoch_batches(0, [replace(batch, target=batch.target[None].repeat(6, 1))]))


def test_samples_of_weight_0_do_not_set_the_scale() -> None:
    target = torch.tensor([1.0, 2.0, 3.0, 1e6])
    found = Regression().fit(target, torch.tensor([1.0, 1.0, 2.0, 0.0]))
    assert isinstance(found, Regression)
    assert found.mean == pytest.approx([2.25])
    assert found.scale == pytest.approx([0.6875**0.5])
