"""Frozen encoders: each sample is encoded once, and the rest learns what it would learn anyway."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from folded import check_each
from own_models import ENCODERS, Plain, made
from settings import CASES, build
from torch import Tensor, nn
from toy import Calls, Steps, linear_encoders, same, toy_data, toy_model, weights

import counterpoise as cp
from counterpoise import InputError, Method, Run, fit
from counterpoise.encoders import HuggingFace
from counterpoise.training import fit as fitting
from counterpoise.training.frozen import PROBED

FAST: dict[str, Any] = {"epochs": 2, "batch_size": 16, "lr": 0.05}
# Methods that read gradients, encode by themselves, train copies, or change encoders.
FEW = ("joint", "mla", "ogm", "agm", "mmpareto", "umt", "modality-dropout", "relearn reset")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*is frozen at random weights", "ignore:diagnose-relearn leaves 'a' alone. what is"
)


def linear_model(data: Any, *names: str, **options: Any) -> cp.MultimodalModel:
    """Encoders with BatchNorm, which has statistics of its own; some of them frozen."""
    encoders = linear_encoders(data, norm=True)
    for encoder in encoders.values():
        encoder[1].running_mean.fill_(0.3)
    return cp.build_model(data, encoders=encoders, freeze=names, **options)


def in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on frozen encoders run in every step."""
    monkeypatch.setattr(fitting, "start_features", lambda *_: None)


def train(case: str, names: tuple[str, ...]) -> Run:
    data = toy_data(missing=0.2, samples=60)
    method = build(case)
    encoders = linear_encoders(data, norm=True)
    model = cp.build_model(data, method, encoders=encoders, freeze=names)
    return fit(model, data, method, **FAST)


def compare_ways(case: str, names: tuple[str, ...]) -> None:
    """A method trains the same whether features are read or encoded in each step."""
    run = train(case, names)
    with pytest.MonkeyPatch.context() as patch:
        in_the_loop(patch)
        other = train(case, names)
    for kept, found in ((run.model, other.model), (run.method, other.method)):
        for key, value in weights(kept).items():
            torch.testing.assert_close(value, weights(found)[key], equal_nan=True, msg=key)


def test_methods_learn_the_same_from_features_as_from_inputs() -> None:
    check_each([(case, ("a",)) for case in FEW], compare_ways)


@pytest.mark.slow
def test_every_method_learns_the_same_from_features_as_from_inputs() -> None:
    check_each([(case, ("a",)) for case in CASES], compare_ways)


@pytest.mark.slow
def test_methods_train_a_head_alone_or_say_that_they_cannot() -> None:
    def check(case: str) -> None:
        members = list(method) if isinstance(method := build(case), cp.Chain) else [method]
        refused = [m.label() for m in members if m.for_encoders]
        if not refused and case != "lfm":
            compare_ways(case, ("a", "b"))
            return
        with pytest.raises(InputError, match=f"method '{(refused or ['lfm'])[0]}'.* frozen"):
            train(case, ("a", "b"))

    check_each(CASES, check)
    assert build("ogm").for_encoders and not build("joint").for_encoders


def test_what_is_frozen_has_no_gradient_no_moments_and_keeps_its_statistics() -> None:
    data = toy_data()
    model = linear_model(data, "a")
    model.encoders["a"].append(nn.Dropout(0.5))
    before, seen = weights(model.encoders["a"]), []

    class Looking(Method):
        def modulate(self, out: Any, batch: Any, ctx: Any) -> None:
            own = set(map(id, model.encoders["a"].parameters()))
            assert not own & {id(p) for p in ctx.parameters()}
            assert all(p.grad is None for p in model.encoders["a"].parameters())
            assert not any(part.training for part in model.encoders["a"].modules())
            assert model.training and model.encoders["b"].training
            seen.append(out.features["a"])

    run = fit(model, data, Looking(), weight_decay=0.1, momentum=0.9, **FAST)
    assert seen and same(weights(model.encoders["a"]), before)
    assert not same(weights(model.encoders["b"]), weights(linear_model(data).encoders["b"]))
    model.train()
    assert not model.encoders["a"].training
    assert run.model.frozen == ("a",)


def test_each_sample_is_encoded_once() -> None:
    data = toy_data(missing=0.3)
    model = linear_model(data, "a")
    calls = Calls(model.encoders["a"])
    run = fit(model, data, epochs=5, batch_size=16)
    here = {part: int(split.present["a"].sum()) for part, split in data.splits.items()}
    probes = 2 * PROBED
    assert sum(calls.rows) == here["train"] + here["validation"] + probes
    first = run.evaluate(data)
    assert sum(calls.rows) == sum(here.values()) + probes + PROBED
    assert run.evaluate(data, which="best").metrics[("b",)].keys() == first.metrics[("b",)].keys()
    assert sum(calls.rows) == sum(here.values()) + probes + PROBED
    assert max(calls.rows) <= 16, "as many at a time as in training"
    raw = cp.evaluate(run.model, data, run.method, task=run.task)
    assert raw.metrics[("a", "b")] == pytest.approx(first.metrics[("a", "b")])


def test_a_whole_model_is_shipped(tmp_path: Path) -> None:
    data = toy_data(missing=0.2)
    run = fit(toy_model(data, freeze=["a"]), data, **FAST)
    run.save(tmp_path / "pack")
    predictor = cp.Predictor.load(tmp_path / "pack")
    rows = data.test.present["a"] & data.test.present["b"]
    inputs = {m: data.test.inputs[m][rows] for m in data.modalities}
    told = run.evaluate(data).whole("a", "b")[rows].argmax(1)
    assert predictor.predict(inputs).label.tolist() == told.tolist()


def bert(data: Any) -> cp.MultimodalModel:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = HuggingFace(BertModel(config))
    return cp.build_model(data, encoders={"words": encoder}, freeze=["words"], width=16)


def texts(width: int = 9) -> cp.ArrayData:
    source = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 40, (60, width), generator=source)
    real = torch.arange(width) < torch.randint(1, width + 1, (60, 1), generator=source)
    words = {"input_ids": (ids * real).numpy(), "attention_mask": real.long().numpy()}
    present = {"words": (torch.rand(60, generator=source) < 0.7).numpy()}
    values = torch.randn(60, 2, 12, generator=source).numpy()
    return cp.ArrayData(
        {"words": words, "b": values}, torch.arange(60).numpy() % 3, present=present
    )


def test_a_model_of_transformers_trains_the_rest_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = texts()
    cached = fit(bert(data), data, out=tmp_path, accumulate=2, **FAST)
    in_the_loop(monkeypatch)
    other = fit(bert(data), data, accumulate=2, **FAST)
    for key, value in weights(cached.model).items():
        torch.testing.assert_close(value, weights(other.model)[key], rtol=1e-4, atol=1e-6)


def test_steps_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = toy_data(missing=0.2, samples=60, sequences=True)

    def make() -> cp.MultimodalModel:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            encoders = {"a": Steps(8), "b": Steps(8)}
        return cp.build_model(data, encoders=encoders, fusion="bottleneck", freeze=["a"])

    cached = fit(make(), data, out=tmp_path, **FAST)
    in_the_loop(monkeypatch)
    other = fit(make(), data, **FAST)
    for key, value in weights(cached.model).items():
        torch.testing.assert_close(value, weights(other.model)[key], rtol=1e-4, atol=1e-6)


def test_a_wrapped_model_can_be_frozen_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    data = toy_data()
    cached = fit(cp.wrap(made(Plain), ENCODERS, "head").freeze("a"), data, **FAST)
    in_the_loop(monkeypatch)
    other = fit(cp.wrap(made(Plain), ENCODERS, "head").freeze("a"), data, **FAST)
    for key, value in weights(cached.model).items():
        torch.testing.assert_close(value, weights(other.model)[key])


class Drawing(nn.Module):
    """Draws also in evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Uneven(nn.Module):
    """Gives as many steps as its first sample says."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 1 + int(x[0, 0, 0] > 0), 4)


def test_what_cannot_be_frozen_is_one_line() -> None:
    data = toy_data()
    tied = cp.build_model(data, encoders=linear_encoders(data))
    tied.encoders["b"] = tied.encoders["a"]
    drawing = cp.build_model(data, encoders={"a": Drawing()}, freeze=["a"])
    steps = toy_data(samples=60, sequences=True)
    uneven = cp.build_model(
        steps, encoders={"a": Uneven(), "b": Steps()}, fusion="bottleneck", freeze=["a"]
    )
    cases: dict[str, Callable[[], object]] = {
        "unknown modality in freeze 'sound'; known: a, b": lambda: toy_model(
            data, freeze=["sound"]
        ),
        "freeze must be a list of modalities, found 'a'": lambda: toy_model(data, freeze="a"),
        "freeze must name each once, found 'a' twice": lambda: toy_model(data, freeze=["a", "a"]),
        "encoder of 'a' cannot be frozen: it shares parameters with the encoder of 'b'": (
            lambda: tied.freeze("a")
        ),
        "encoder_lr names 'a', whose encoder is frozen": lambda: fit(
            toy_model(data, freeze=["a"]), data, encoder_lr={"a": 0.1}, **FAST
        ),
        "mode=released encodes zeros for what is dropped, and frozen encoders": lambda: fit(
            toy_model(data, freeze=["a"]), data, "modality-dropout:mode=released", **FAST
        ),
        "frozen encoder of 'a' gives other features than before": lambda: fit(
            drawing, data, **FAST
        ),
        "the encoder of 'a' gives some samples more steps than others": lambda: fit(
            uneven, steps, epochs=1, batch_size=2
        ),
    }

    def check(reason: str) -> None:
        with pytest.raises(InputError) as caught:
            cases[reason]()
        assert reason in str(caught.value)

    check_each(cases, check)


def test_a_method_that_changes_a_frozen_encoder_is_named() -> None:
    data = toy_data()

    class Careless(Method):
        name = "careless"

        def epoch_end(self, ctx: Any) -> None:
            with torch.no_grad():
                for p in ctx.model.encoders["a"].parameters():
                    p.add_(1)

    with pytest.raises(InputError, match="method 'careless' has changed the encoder of 'a'"):
        fit(linear_model(data, "a"), data, Careless(), **FAST)


def test_relearning_leaves_frozen_encoders_alone() -> None:
    data = toy_data(samples=200, noise=3.0)
    model = linear_model(data, "a")
    before = weights(model.encoders["a"])
    method = cp.build_method("diagnose-relearn", every=1)
    with pytest.warns(RuntimeWarning, match="leaves 'a' alone: what is frozen learns nothing"):
        fit(model, data, method, epochs=3, batch_size=16)
    assert same(weights(model.encoders["a"]), before)
    assert method.pulls[0] == 0 and method.pulls[1] > 0, "the other one is pulled back"
    assert not any(key.startswith("start.0") for key in method.state_dict())
