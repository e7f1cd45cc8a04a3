"""A learning rate for each encoder: with every method, beside the run, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from settings import CASES, build
from torch import nn
from toy import same, toy_context, toy_data, toy_model, weights

from counterpoise import Context, InputError, MultimodalModel, build_method, fit, wrap
from counterpoise.fusion import Concat
from counterpoise.methods.lfm import validation_slope

FAST: dict[str, Any] = {"epochs": 2, "batch_size": 16, "lr": 0.1}


def rates_of(ctx: Context, parameters: Any) -> set[float]:
    """The rates that the optimiser has for these parameters."""
    rate = {id(p): group["lr"] for group in ctx.optimizer.param_groups for p in group["params"]}
    return {round(rate[id(p)], 9) for p in parameters}


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Context]:
    """The contexts in which weights were moved."""
    found: list[Context] = []
    update = Context.update

    def watch(self: Context) -> None:
        if self not in found:
            found.append(self)
        update(self)

    monkeypatch.setattr(Context, "update", watch)
    return found


@pytest.mark.parametrize(
    ("method", "a", "b"),
    [
        ("joint", 0.05, 0.1),
        ("multi-loss:encoder_lr=0.2", 0.01, 0.02),  # the two factors are multiplied
        ("cggm", 0.05, 0.1),
        ("amco", 0.05, 0.1),
    ],
)
def test_the_optimiser_has_the_rate(method: str, a: float, b: float, seen: list[Context]) -> None:
    data = toy_data()
    model = toy_model(data, method)
    run = fit(model, data, method, encoder_lr={"a": 0.5}, **FAST)
    (ctx,) = seen
    assert rates_of(ctx, model.encoder_parameters("a")) == {a}
    assert rates_of(ctx, model.encoder_parameters("b")) == {b}
    assert rates_of(ctx, model.fusion.parameters()) == {0.1}
    if method == "cggm":
        own = run.method.classifiers.parameters()
        assert rates_of(ctx, own) == {0.1 * build_method(method).classifier_lr}


# Of these, one moves encoders by other means than the optimiser.
@pytest.mark.parametrize("case", [c for c in CASES if "relearn" not in c])
def test_an_encoder_at_rate_0_stays_with_every_method(case: str) -> None:
    data, method = toy_data(missing=0.2), build(case)
    model = toy_model(data, method)
    start = weights(model)
    fit(model, data, method, encoder_lr={"a": 0.0}, max_norm=1.0, **FAST)
    moved = {
        name.split(".")[1]
        for name, tensor in model.named_parameters()
        if name.startswith("encoders.") and not torch.equal(tensor, start[name])
    }
    assert moved == {"b"}


def test_what_is_trained_beside_has_the_factors(seen: list[Context]) -> None:
    data = toy_data()
    for label in ("umt:teacher_epochs=1", "g-blending:when=online:super_epoch=1"):
        seen.clear()
        model = toy_model(data, label)
        fit(model, data, label, encoder_lr={"b": 0.5}, **FAST)
        beside = [ctx for ctx in seen if ctx.model is not model]
        assert beside
        for ctx in beside:
            assert rates_of(ctx, ctx.model.encoder_parameters("b")) == {0.05}
            assert rates_of(ctx, ctx.model.encoder_parameters("a")) == {0.1}


def test_lfm_takes_the_step_of_each_parameter_at_its_rate() -> None:
    """The copy that the derivative is taken with has its parameters in another order."""
    data, found = toy_data(), []
    for way in ("encoder_lr", "scale_lr"):
        ctx = toy_context(data, method="lfm", seed=1)
        if way == "encoder_lr":
            ctx.encoder_lr = {"a": 0.5}
        ctx.scale_lr(ctx.model.encoder_parameters("a"), 0.5)
        method = build_method("lfm")
        method.setup(ctx)
        found.append(validation_slope(ctx, method.parts, torch.tensor(0.6)))
    torch.testing.assert_close(*found, rtol=1e-5, atol=0)


def test_a_factor_of_1_changes_nothing() -> None:
    data = toy_data()
    none, one = (
        fit(toy_model(data), data, encoder_lr=factors, **FAST) for factors in ({}, {"a": 1.0})
    )
    assert same(weights(none.model), weights(one.model))


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 6), nn.Linear(5, 6), nn.Linear(12, 3)

    def forward(self, a: Any, b: Any) -> Any:
        return self.head(torch.cat([self.first(a), self.second(b)], 1))


def test_a_wrapped_model() -> None:
    data, parts = toy_data(), Parts()
    start = weights(parts)
    model = wrap(parts, encoders={"a": "first", "b": "second"}, head="head")
    fit(model, data, encoder_lr={"b": 0.0}, **FAST)
    ends = weights(parts)
    assert torch.equal(ends["second.weight"], start["second.weight"])
    assert not torch.equal(ends["first.weight"], start["first.weight"])


def test_what_is_refused(tmp_path: Path) -> None:
    data = toy_data()
    with pytest.raises(InputError, match=r"unknown modality in encoder_lr 'c'; .*known: a, b"):
        fit(toy_model(data), data, out=tmp_path / "run", encoder_lr={"c": 0.1}, **FAST)
    assert not (tmp_path / "run").exists()
    shared = nn.Linear(4, 6)
    tied = MultimodalModel({"a": shared, "b": shared}, Concat({"a": 6, "b": 6}, 3))
    optimizer = torch.optim.SGD(tied.parameters(), 0.1)
    with pytest.raises(InputError, match="encoders 'a' and 'b' share parameters"):
        Context(tied, optimizer, data.task, {}, encoder_lr={"a": 0.1})
    with pytest.raises(InputError, match=r"encoder_lr\['a'\] must be a number from 0"):
        Context(tied, optimizer, data.task, {}, encoder_lr={"a": -1.0})
