"""Models of one's own, wrapped: they compute and train as they would, and stay their owner's."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from own_models import ENCODERS, Gate, Plain, Pooling, made, own_logits, wrapped
from settings import OPTIONS
from torch import Tensor, nn
from torch.nn import functional as F
from toy import Calls, callback, same, toy_batch, toy_data, weights

import counterpoise as cp
from counterpoise import METHODS, ArrayData, Concat, InputError, Loader, Run, fit, wrap
from counterpoise.core import storage
from counterpoise.methods.dgl import unimodal_logits
from counterpoise.models.replayed import Replayed
from counterpoise.training.run import load_run

SETTINGS = {"epochs": 2, "batch_size": 16, "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-2}

both = pytest.mark.parametrize("kind", [Plain, Gate])


# What is wrapped is what the model computes.


@both
def test_logits_are_the_models_own(kind: type[nn.Module]) -> None:
    model, batch = made(kind).eval(), toy_batch(toy_data())
    found = wrapped(model)(batch).logits
    assert torch.equal(found, own_logits(model, batch.inputs["a"], batch.inputs["b"]))


@both
def test_a_missing_modality_is_features_of_zero(kind: type[nn.Module]) -> None:
    model, data = made(kind).eval(), toy_data(missing=0.4)
    batch = toy_batch(data)
    given = {
        m: model.get_submodule(path)(batch.inputs[m]) * batch.present[m][:, None]
        for m, path in ENCODERS.items()
    }
    other = copy.deepcopy(model)
    other.first, other.second = nn.Identity(), nn.Identity()
    assert not bool(batch.present["a"].all())
    found = wrapped(model)(batch).logits
    torch.testing.assert_close(found, own_logits(other, given["a"], given["b"]))


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_head_on_features_side_by_side_is_concat(bias: bool) -> None:
    model = made(Plain, bias).eval()
    found, batch = wrapped(model), toy_batch(toy_data(missing=0.3))
    assert isinstance(found.fusion, Concat) and found.fusion.policy == "slice"
    assert found.fusion.head is model.head and found.fusion.order == ("b", "a")
    assert [(m, w.shape[1]) for m, w in found.fusion.slices().items()] == [("a", 6), ("b", 3)]
    assert torch.equal(found.fusion.slices()["a"], model.head.weight[:, 3:])
    out = found(batch)
    shares = sum(torch.where(batch.present[m][:, None], out.unimodal[m], 0) for m in "ab")
    torch.testing.assert_close(shares, out.logits)


class Relu(Plain):
    def join(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([F.relu_(x), y], 1)


class Dropout(Plain):
    def join(self, x: Tensor, y: Tensor) -> Tensor:
        return F.dropout(torch.cat([x, y], 1), 0.1, self.training)


class Sometimes(Plain):
    def join(self, x: Tensor, y: Tensor) -> Tensor:
        dropped = self.training and random.random() < 0.3
        return torch.cat([x * 0 if dropped else x, y], 1)


class Token(Plain):
    def join(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([torch.where((x == 0).all(1, keepdim=True), 0.5, x), y], 1)


class Twice(Plain):
    def join(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([y, y, y], 1)


class Sums(Plain):
    def join(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x + y.repeat(1, 2), y], 1)


@pytest.mark.parametrize("kind", [Relu, Dropout, Sometimes, Token, Twice, Sums])
def test_whatever_is_not_that_is_replayed(kind: type[Plain]) -> None:
    random.seed(0)  # the first draw drops nothing
    assert type(wrapped(made(kind)).fusion) is Replayed


def test_features_stay_as_they_are_where_forward_works_in_place() -> None:
    model, batch = made(Relu).eval(), toy_batch(toy_data())
    out = wrapped(model)(batch)
    assert torch.equal(out.features["a"], model.first(batch.inputs["a"]))
    assert bool((out.features["a"] < 0).any())
    called = wrapped(model, call=lambda m, z: m.head(m.join(z["a"], z["b"])))(batch)
    assert torch.equal(called.features["a"], out.features["a"])
    assert torch.equal(called.logits, out.logits)


def test_without_a_head_it_is_what_forward_returns() -> None:
    class Late(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.x, self.y = nn.Linear(6, 3), nn.Linear(3, 3)

        def forward(self, one: Tensor, two: Tensor) -> Tensor:
            return self.x(self.first(one)) + self.y(self.second(two))

    model, batch = made(Late).eval(), toy_batch(toy_data())
    found = wrap(model, ENCODERS)(batch).logits
    assert torch.equal(found, model(batch.inputs["a"], batch.inputs["b"]))
    with pytest.raises(InputError, match=r"must give logits \[B, K\], found dict; name in head="):
        wrap(made(Plain), ENCODERS)


# The model stays as it was, and its parameters are what is trained.


def members(model: nn.Module) -> list[dict[str, int]]:
    """What every module of it holds, by identity; modes aside."""
    found = [{key: id(value) for key, value in vars(m).items()} for m in model.modules()]
    return [{key: value for key, value in each.items() if key != "training"} for each in found]


@both
def test_wrapping_leaves_no_trace(kind: type[nn.Module]) -> None:
    model = made(kind)
    model.second.eval()
    before, modes, held = weights(model), [m.training for m in model.modules()], members(model)
    states = torch.get_rng_state(), random.getstate()
    found = wrapped(model)
    assert torch.equal(states[0], torch.get_rng_state()) and states[1] == random.getstate()
    assert same(before, weights(model)) and modes == [m.training for m in model.modules()]
    found.eval()(toy_batch(toy_data()))
    assert held == members(model) and same(before, weights(model))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@both
def test_its_parameters_are_the_models_own(kind: type[nn.Module]) -> None:
    model = made(kind)
    before, found = weights(model), wrapped(model)
    assert {id(p) for p in model.parameters()} == {id(p) for p in found.parameters()}
    assert len(found.state_dict()) == len(before)
    fit(found, toy_data(), epochs=1)
    assert not any(torch.equal(before[k], w) for k, w in weights(model).items() if k != "scale")


@both
def test_modes_reach_the_model_and_its_own_train(kind: type[nn.Module]) -> None:
    class Frozen(kind):  # type: ignore[valid-type, misc]
        def train(self, mode: bool = True) -> Frozen:
            super().train(mode)
            self.first[1].eval()
            return self

    model = made(Frozen)
    found = wrapped(model)
    fit(found, toy_data(), epochs=1)
    assert not any(m.training for m in (*model.modules(), *found.modules()))
    found.train()
    assert model.training and model.second[1].training and not model.first[1].training
    assert int(model.first[1].num_batches_tracked) == 0 < int(model.second[1].num_batches_tracked)


@both
def test_training_is_what_a_plain_loop_does_to_the_bit(kind: type[nn.Module]) -> None:
    data, bare, model = toy_data(samples=130), made(kind), made(kind)
    initial = weights(bare)
    fit(wrapped(model), data, "joint", **SETTINGS)
    optimizer = torch.optim.SGD(bare.parameters(), 0.05, momentum=0.9, weight_decay=1e-2)
    a, b, y = data.train.inputs["a"], data.train.inputs["b"], data.train.target
    for epoch in range(2):
        bare.train()
        for rows in Loader(data.train, 16, seed=0, shuffle=True).order(epoch).split(16):
            optimizer.zero_grad()
            F.cross_entropy(own_logits(bare, a[rows], b[rows]), y[rows]).backward()
            optimizer.step()
    assert same(weights(model), weights(bare))
    assert not any(torch.equal(initial[k], w) for k, w in weights(bare).items() if k != "scale")


def test_hooks_of_an_encoder_run_when_it_does_and_not_in_the_replay() -> None:
    model = made(Gate)
    model.first.forward = model.first.forward  # as libraries do that patch a module
    calls = Calls(model.first)
    found = wrapped(model)
    assert len(calls) == 0
    found(toy_batch(toy_data()))
    assert calls.rows == [16] and "forward" in vars(model.first)
    assert len(model.first._forward_pre_hooks) == 1 and not model.classifier._forward_hooks


# Every method: trains, or says what it needs.

NEEDS = {
    **dict.fromkeys(("unimodal", "ume", "qmf", "lfm"), "Late"),
    **dict.fromkeys(("opm", "cggm", "amco"), "Concat"),
    "mla": "Shared",
    "greedy": "MMTM",
    "mmcosine": "Cosine",
    "reconboost": "Sum",
    "aug": "Boosted",
}


def trained(name: str, model: nn.Module, data: ArrayData) -> Run:
    method = cp.build_method(name, **OPTIONS.get(name, {}))
    known = ("ablate", "aux") if isinstance(model, Gate) else ("slice", "ablate", "aux")
    policy = next(p for p in known if p in method.policies)
    return fit(wrapped(model, unimodal=policy), data, method, **SETTINGS)


@both
@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_it_or_says_what_it_needs(name: str, kind: type[nn.Module]) -> None:
    data, model = toy_data(missing=0.3, samples=60), made(kind)
    needed = NEEDS.get(name)
    if needed and (kind is Gate or needed != "Concat"):
        with pytest.raises(InputError, match=rf"trains a {needed}.* fusion, found .*build_model"):
            fit(wrapped(model), data, name)
        return
    before = weights(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # too few samples to cluster
        run = trained(name, model, data)
    assert not same(before, weights(model))
    metrics = run.evaluate(data).metrics
    assert set(metrics) == {("a", "b"), ("a",), ("b",)}
    assert all(bool(w.isfinite().all()) for w in weights(model).values())


def test_the_fusion_that_a_method_needs_goes_on_the_same_encoders() -> None:
    model, data = made(Plain), toy_data()
    before = weights(model)
    built = cp.build_model(data, "mla", encoders={"a": model.first, "b": model.second})
    fit(built, data, "mla", epochs=1)
    assert not torch.equal(before["first.0.weight"], model.first[0].weight)


def test_a_loss_that_spares_the_fusion_spares_bare_parameters_too() -> None:
    model, batch = made(Gate), toy_batch(toy_data())
    found = wrapped(model)
    pairs = unimodal_logits(found, found.encode(batch), batch.present, ["a", "b"])
    torch.stack([u.sum() for _, u in pairs]).sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None}
    assert moved == {n for n, _ in model.named_parameters() if n.startswith(("first", "second"))}


def test_unimodal_logits_leave_running_statistics_alone() -> None:
    model, batch = made(Gate), toy_batch(toy_data())
    out = wrapped(model)(batch)
    before = weights(model.norm)
    assert int(model.norm.num_batches_tracked) == 1
    assert out.unimodal["a"].shape == (16, 3) and out.unimodal["b"].shape == (16, 3)
    assert same(before, weights(model.norm))
    wrapped(model)(toy_batch(toy_data(), 1))  # of one row, which has no variance
    assert int(model.norm.num_batches_tracked) == 1


# Storage and copies.


@both
def test_resumes_and_loads(kind: type[nn.Module], tmp_path: Path) -> None:
    data, whole = toy_data(), made(kind)
    fit(wrapped(whole, unimodal="aux"), data, "multi-loss", **SETTINGS)

    class Stop(Exception):
        pass

    def stop(entry: dict[str, Any]) -> None:
        raise Stop

    with pytest.raises(Stop):
        fit(
            wrapped(made(kind), unimodal="aux"),
            *(data, "multi-loss"),
            out=tmp_path / "r",
            callbacks=[callback(on_epoch=stop)],
            **SETTINGS,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        model, other = kind(), kind()
    again = wrapped(model, unimodal="aux", seed=5)
    run = fit(again, data, "multi-loss", out=tmp_path / "r", resume=True, **SETTINGS)
    assert same(weights(model), weights(whole))
    loaded = load_run(
        tmp_path / "r", wrapped(other, unimodal="aux"), data, cp.build_method("multi-loss")
    )
    assert same(weights(other), weights(whole)) and same(weights(loaded.model), weights(run.model))
    kept = storage.read_weights(tmp_path / "r" / "last.safetensors")
    assert same(kept, weights(run.model))


@both
def test_copies_are_whole_and_apart(kind: type[nn.Module]) -> None:
    batch, model = toy_batch(toy_data()), made(kind)
    found = wrapped(model).eval()
    wanted = found(batch).logits
    for copied in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert torch.equal(copied(batch).logits, wanted)
        assert not {id(p) for p in copied.parameters()} & {id(p) for p in model.parameters()}
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.zero_()
        assert bool((copied(batch).logits == 0).all())
    assert torch.equal(found(batch).logits, wanted)


def test_two_wraps_share_the_parameters_and_nothing_else() -> None:
    model, data = made(Gate), toy_data()
    one, two = wrapped(model), wrapped(model, unimodal="aux")
    fit(one, data, "ogm", epochs=1)
    fit(two, data, "multi-loss", epochs=1)
    batch = toy_batch(data)
    assert torch.equal(one(batch).logits, two(batch).logits)
    assert not any(m.training for m in model.modules())


def test_extra_heads_follow_the_seed() -> None:
    heads = [wrapped(made(Plain), unimodal="aux", seed=s).fusion.aux for s in (1, 1, 2)]
    assert same(weights(heads[0]), weights(heads[1]))
    assert not same(weights(heads[0]), weights(heads[2]))


def test_device_moves_reach_buffers_and_bare_parameters() -> None:
    model = made(Gate)
    wrapped(model).to("meta")
    assert {t.device.type for t in (*model.parameters(), *model.buffers())} == {"meta"}


def test_tied_weights_are_written_and_read(tmp_path: Path) -> None:
    class Tied(Gate):
        def __init__(self) -> None:
            super().__init__()
            self.again = nn.Linear(7, 7)
            self.again.weight = nn.Parameter(torch.eye(7))
            self.more = nn.Linear(7, 7)
            self.more.weight = self.again.weight

    data, model = toy_data(), made(Tied)
    run = fit(wrapped(model), data, out=tmp_path / "r", epochs=1)
    loaded = load_run(tmp_path / "r", wrapped(made(Tied)), data, cp.build_method("joint"))
    assert same(weights(loaded.model), weights(run.model))


def test_bf16_is_for_the_encoders() -> None:
    batch = toy_batch(toy_data())
    single, half = (wrapped(made(Gate).eval(), precision=p)(batch) for p in ("fp32", "bf16"))
    assert half.logits.dtype == torch.float32 and not torch.equal(single.logits, half.logits)
    torch.testing.assert_close(single.logits, half.logits, atol=0.1, rtol=0.1)


# Parts outside of the tree, pooling, other ways to call.


def test_pooling_goes_into_encoders_and_the_rest_into_call() -> None:
    data, model = toy_data(sequences=True), made(Pooling)
    pooled = {
        m: nn.Sequential(net, nn.AdaptiveAvgPool1d(1), nn.Flatten())
        for m, net in model.nets.items()
    }
    batch = toy_batch(data)
    found = wrap(model, pooled, "fuse", call=lambda m, z: m.end(z["a"], z["b"]))
    torch.testing.assert_close(found(batch).logits, model(batch.inputs))
    assert {id(p) for p in found.parameters()} == {id(p) for p in model.parameters()}
    before = weights(model)
    fit(found, data, "ogm", epochs=1)
    assert all(not torch.equal(before[k], w) for k, w in weights(model).items())
    moved = copy.deepcopy(found)
    nn.init.zeros_(model.fuse[2].weight)
    assert bool((moved.fusion.replay.model.fuse[2].weight != 0).any())


def test_call_may_be_forward_itself() -> None:
    class One(Pooling):
        def forward(self, inputs: dict[str, Tensor], flip: bool) -> Tensor:
            return -self.fuse(torch.cat([self.nets[m](inputs[m]) for m in "ab"], 1))

    model = made(One).eval()
    model.nets = nn.ModuleDict({"a": nn.Linear(4, 6), "b": nn.Linear(5, 5)})
    paths, batch = {"a": "nets.a", "b": "nets.b"}, toy_batch(toy_data())
    found = wrap(model, paths, call=lambda m, inputs: m(inputs, flip=True))
    assert torch.equal(found(batch).logits, model(batch.inputs, True))


def test_widths_are_measured_on_an_example() -> None:
    class Odd(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Linear(4, 12), nn.GLU())

    data = toy_data()
    example = {m: x[:3].double().numpy() for m, x in data.train.inputs.items()}
    assert wrapped(made(Odd), example=example).fusion.widths == {"a": 6, "b": 3}
    with pytest.raises(InputError, match="pass example= if the encoders give others"):
        wrapped(made(Odd))


@pytest.mark.parametrize(
    ("layer", "width"),
    [
        (nn.LSTM(3, 4, bidirectional=True), 8),
        (nn.LSTM(3, 4, proj_size=2), 2),
        (nn.GRU(3, 5, 2), 5),
        (nn.Sequential(nn.Conv2d(1, 7, 3), nn.ReLU()), 7),
        (nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), 3),
        (nn.Sequential(nn.Linear(2, 4), nn.GroupNorm(2, 4)), 4),
        (nn.EmbeddingBag(9, 6), 6),
        (nn.TransformerEncoderLayer(4, 2, 8), 4),
    ],
)
def test_widths_are_told_from_the_last_layer(layer: nn.Module, width: int) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.head = layer, nn.Linear(width, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.net(x))

    assert wrap(Model(), {"x": "net"}, "head").fusion.widths == {"x": width}
