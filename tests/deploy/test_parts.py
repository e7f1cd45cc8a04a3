"""Models described in plain values, and made again."""

from __future__ import annotations

import json
from typing import Any

import own_models
import pytest
import torch
from folded import check_each
from settings import CASES, build
from torch import Tensor, nn
from toy import toy_data

import counterpoise as cp
from counterpoise import FUSIONS, Fusion, InputError, build_model
from counterpoise.core.batch import Lazy
from counterpoise.core.strict_json import to_json
from counterpoise.deploy.parts import (
    Given,
    describe_model,
    describe_rule,
    remake_model,
    remake_rule,
)
from counterpoise.encoders import Encoder

STEPS = ("bottleneck", "early-lstm", "memory-fusion")


def remake(first: cp.MultimodalModel, data: cp.Dataset, **given: Any) -> cp.MultimodalModel:
    """A model like this one, by its description in JSON, with its weights."""
    described = json.loads(to_json(describe_model(first)))
    again = remake_model(described, data.specs, Given(**given))
    again.load_state_dict(first.state_dict())
    return again.eval()


def check_same(model: cp.MultimodalModel, again: cp.MultimodalModel, data: cp.Dataset) -> None:
    batch = data.validation[torch.arange(8)]
    model.eval()
    with torch.no_grad():
        first, second = model(batch), again(batch)
        assert torch.equal(first.logits, second.logits)
        for name in model.modalities:
            assert torch.equal(first.unimodal[name], second.unimodal[name])
    assert again.precision == model.precision and again.fusion.policy == model.fusion.policy


def test_every_fusion_is_made_again() -> None:
    options = {"boosted": "boosted:layers=2:hidden=8", "bottleneck": "bottleneck:layers=1"}

    def check(name: str) -> None:
        data = toy_data(2, 0.3, sequences=name in STEPS)
        if name in ("early-lstm", "memory-fusion"):  # which want one length
            inputs = {m: torch.randn(60, 2, 9) for m in ("a", "b")}
            data = cp.ArrayData(inputs, torch.arange(60) % 3)
        encoders = dict.fromkeys(data.modalities, "steps") if name in STEPS else None
        for policy in FUSIONS[name].policies:
            model = build_model(
                data, fusion=options.get(name, name), encoders=encoders, unimodal=policy, width=8
            )
            check_same(model, remake(model, data), data)

    check_each(FUSIONS, check)


def test_grown_layers_count_again() -> None:
    data = toy_data()
    model = build_model(data, fusion="boosted:layers=3:hidden=8", width=8)
    model.fusion.grow("a")  # type: ignore[operator]
    again = remake(model, data)
    assert again.fusion.counts == {"a": 1, "b": 0}
    check_same(model, again, data)


class Sum2(Fusion):
    policies = ("ablate",)

    def __init__(self, widths: Any, outputs: int, unimodal: str = "ablate", *, k: int = 2) -> None:
        super().__init__(widths, outputs, unimodal)
        self.k, self.lin = k, nn.Linear(next(iter(widths.values())), outputs)

    def logits(self, features: Any, present: Any, shares: Lazy) -> Tensor:
        return self.k * self.lin(sum(features.values()))


class Half(Encoder):
    def __init__(self, *, size: int = 6) -> None:
        super().__init__()
        self.lin = nn.Linear(4, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.lin(x) / 2


class Plain(nn.Linear):
    def __init__(self) -> None:
        super().__init__(5, 6)


def test_parts_of_ones_own_are_passed_again() -> None:
    data = toy_data()
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
    encoders = {"a": Half(size=6), "b": net}
    model = build_model(data, encoders=encoders, fusion=Sum2)
    with pytest.raises(InputError, match=r"encoder of 'a' is a .*half, which is no name"):
        remake(model, data)
    mine = nn.Sequential(nn.Linear(5, 6), nn.Tanh())
    with pytest.raises(InputError, match="fusion 'sum2' is no name here; pass its class"):
        remake(model, data, encoders={"a": Half, "b": mine})
    check_same(model, remake(model, data, encoders={"a": Half, "b": mine}, fusion=Sum2), data)
    assert remake(model, data, encoders={"a": Half, "b": mine}, fusion=Sum2).encoders["b"] is mine
    # A class of any module is made without arguments, as that of a wrapped model is.
    plain = build_model(data, encoders={"b": Plain()})
    check_same(plain, remake(plain, data, encoders={"b": Plain}), data)


@pytest.mark.parametrize("kind", [own_models.Plain, own_models.Gate])
def test_wrapped_models_are_opened_by_their_class(kind: type[nn.Module]) -> None:
    data = toy_data()
    head = "head" if kind is own_models.Plain else "classifier"
    model = cp.wrap(own_models.made(kind), own_models.ENCODERS, head)
    with pytest.raises(InputError, match=f"model of class own_models.{kind.__name__}; pass one"):
        remake(model, data)
    for given in (kind, kind()):
        again = remake(model, data, model=given)
        check_same(model, again, data)
        assert type(again.fusion) is type(model.fusion)


def test_a_call_is_passed_again() -> None:
    data, net = toy_data(), own_models.made(own_models.Plain)

    def call(model: Any, features: dict[str, Tensor]) -> Any:
        return model.head(model.join(*features.values()))

    model = cp.wrap(net, own_models.ENCODERS, "head", call=call)
    with pytest.raises(InputError, match=r"wrapped with call=\.\.\.; pass the same"):
        remake(model, data, model=own_models.Plain)
    check_same(model, remake(model, data, model=own_models.Plain, call=call), data)


def test_rules_are_made_again_without_setup() -> None:
    def check(case: str) -> None:
        data = toy_data(2, 0.2)
        method = build(case)
        model = build_model(data, method, width=8)
        run = cp.fit(model, data, method, epochs=1)
        ruler = run.method.ruler()
        described = json.loads(to_json(describe_rule(run.method)))
        again = remake_rule(described, Given()).eval()
        if ruler is not None:
            state = ruler.rule_state()
            assert all(t.numel() <= 9 for t in state.values()), "what training alone reads is kept"
            again.load_rule(state)
        batch = data.validation[torch.arange(8)]
        with torch.no_grad():
            assert torch.equal(method.predict(model, batch), again.predict(model, batch))

    check_each(CASES, check)


class Sharper(cp.Method):
    def __init__(self, *, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def setup(self, ctx: cp.Context) -> None:
        self.register_buffer("seen", torch.tensor(float(len(ctx.loaders["train"].samples))))

    def predict(self, model: cp.MultimodalModel, batch: cp.Batch) -> Tensor:
        return model(batch).logits * self.power * self.seen


def test_a_rule_of_ones_own_is_passed_again() -> None:
    data = toy_data()
    method = Sharper(power=3.0)
    model = build_model(data, width=8)
    cp.fit(model, data, method, epochs=1)
    described = describe_rule(method)
    with pytest.raises(InputError, match="method 'Sharper' predicts, which is no name here; pass"):
        remake_rule(described, Given())
    batch = data.validation[torch.arange(8)]
    for given in (Sharper, Sharper(power=3.0)):
        again = remake_rule(described, Given(method=given))
        again.load_rule(method.rule_state())
        assert torch.equal(method.predict(model, batch), again.predict(model, batch))


def test_what_a_base_reads_says_nothing_of_another_predict() -> None:
    class Own(cp.METHODS["multi-loss"]):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor(2.0))

        def predict(self, model: cp.MultimodalModel, batch: cp.Batch) -> Tensor:
            return model(batch).logits * self.scale

    class Same(cp.METHODS["multi-loss"]):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.tensor(2.0))

    assert list(Own().rule_state()) == ["scale"]
    assert list(Same().rule_state()) == []
