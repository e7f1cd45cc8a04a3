"""Encoders of sequences: shapes, pooling, padding, and the fusions that they feed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from counterpoise import ArrayData, InputError, build_model, fit
from counterpoise.encoders import GRU, LSTM, Standardize, Steps, Transformer
from counterpoise.encoders.attention import Attention, sinusoids
from counterpoise.encoders.base import Encoder
from counterpoise.encoders.pooling import pool, real_steps

KINDS = [LSTM, GRU, Transformer]


def sequences(count: int = 4, channels: int = 3, length: int = 10) -> Tensor:
    return torch.randn(count, channels, length, generator=torch.Generator().manual_seed(0))


def build(kind: type[Encoder], **options: Any) -> Encoder:
    torch.manual_seed(0)
    return kind.build((3, 15), 16, **options).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["mean", "max", "last"])
def test_shapes_and_gradients(kind: type[Encoder], how: str) -> None:
    x = sequences().requires_grad_()
    features = build(kind, pool=how)(x)
    assert features.shape == (4, 16)
    features.square().sum().backward()
    assert x.grad is not None and bool(x.grad.abs().flatten(1).sum(1).gt(0).all())
    assert build(kind, steps=True)(x).shape == (4, 10, 16)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_does_not_depend_on_its_batch(kind: type[Encoder]) -> None:
    x, encoder = sequences(), build(kind)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x[1:2]), encoder(x)[1:2])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LSTM, {}),
        (LSTM, {"pool": "mean"}),
        (LSTM, {"pool": "max", "layers": 2}),
        (LSTM, {"bidirectional": True}),
        (GRU, {}),
        (GRU, {"bidirectional": True, "pool": "max"}),
        (LSTM, {"bidirectional": True, "layers": 2, "pool": "mean"}),
        (Transformer, {}),
        (Transformer, {"pool": "max"}),
        (Transformer, {"pool": "last", "positions": "sinusoidal"}),
    ],
)
@pytest.mark.parametrize("grad", [True, False])
def test_padding_changes_nothing(kind: type[Encoder], options: Any, grad: bool) -> None:
    x, encoder = sequences(), build(kind, **options)
    with torch.set_grad_enabled(grad):  # without, PyTorch takes other kernels
        short, long = encoder(x), encoder(F.pad(x, (0, 5)))
        torch.testing.assert_close(long, short)
        # Sequences of different lengths in one batch.
        mixed = F.pad(x, (0, 5))
        mixed[0, :, 6:] = 0
        torch.testing.assert_close(encoder(mixed)[0], encoder(x[:1, :, :6])[0])
        torch.testing.assert_close(encoder(mixed)[1:], short[1:])
        blind = build(kind, **options, padding=False)
        assert not torch.allclose(blind(F.pad(x, (0, 5))), blind(x), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_zeros_where_there_is_padding(kind: type[Encoder]) -> None:
    steps = build(kind, steps=True)(F.pad(sequences(), (0, 5)))
    assert steps.shape == (4, 15, 16)
    assert not steps[:, 10:].any() and bool(steps[:, :10].any(2).all())


def test_zeros_inside_of_a_sequence() -> None:
    """They are a step to an LSTM, which keeps time, and none to a Transformer."""
    x = sequences()
    x[:, :, 4] = 0
    assert not torch.allclose(build(LSTM)(x), build(LSTM)(x[:, :, [0, 1, 2, 3, 5, 6, 7, 8, 9]]))
    steps = build(Transformer, steps=True)(x)
    assert not steps[:, 4].any()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_zeros_has_a_feature(kind: type[Encoder]) -> None:
    x = sequences()
    x[2] = 0
    for options in ({}, {"pool": "max"}, {"steps": True}):
        assert bool(build(kind, **options)(x).isfinite().all())
    alone = build(kind)(torch.zeros(1, 3, 1))
    torch.testing.assert_close(build(kind)(x)[2:3], alone)


def test_an_lstm_is_that_of_pytorch() -> None:
    x, encoder = sequences(), build(LSTM, layers=2)
    states, (last, _) = encoder.lstm(x.transpose(1, 2))
    torch.testing.assert_close(encoder(x), last[-1])
    torch.testing.assert_close(build(LSTM, layers=2, pool="mean")(x), states.mean(1))
    both = build(LSTM, bidirectional=True)
    last = both.lstm(x.transpose(1, 2))[1][0]
    assert both(x).shape == (4, 32)
    torch.testing.assert_close(both(x), torch.cat([last[0], last[1]], 1))
    assert build(LSTM, layers=2, dropout=0.5).lstm.dropout == 0.5


def test_a_gru_is_that_of_pytorch() -> None:
    x, encoder = sequences(), build(GRU, layers=2)
    assert type(encoder.gru) is nn.GRU and next(iter(encoder.state_dict())) == "gru.weight_ih_l0"
    torch.testing.assert_close(encoder(x), encoder.gru(x.transpose(1, 2))[1][-1])


def test_a_transformer_starts_with_different_layers_and_knows_the_order() -> None:
    encoder = build(Transformer)
    one, two = encoder.attention.layers
    assert not torch.equal(one.linear1.weight, two.linear1.weight)
    x = sequences()
    for positions in ("learned", "sinusoidal"):
        encoder = build(Transformer, positions=positions)
        if positions == "learned":  # small at the start
            nn.init.normal_(encoder.attention.positions)
        assert not torch.allclose(encoder(x), encoder(x.flip(2)), atol=1e-3)


def test_sinusoids() -> None:
    table = sinusoids(7, 6)
    torch.testing.assert_close(table[:, 0], torch.arange(7.0).sin())
    torch.testing.assert_close(table[:, 3], (torch.arange(7.0) / 10000 ** (2 / 6)).cos())
    assert sinusoids(7, 5).shape == (7, 5)


def test_longer_sequences_than_at_first() -> None:
    with pytest.raises(InputError, match="positions reach to step 15, found 20 steps"):
        build(Transformer)(sequences(length=20))
    assert build(Transformer, positions="sinusoidal")(sequences(length=20)).shape == (4, 16)


def test_pooling_by_hand() -> None:
    steps = torch.tensor([[[1.0], [5.0], [9.0], [float("nan")]]])
    real = torch.tensor([[False, True, True, False]])
    found = {how: pool(steps, real, how).item() for how in ("mean", "max", "first", "last")}
    assert found == {"mean": 7.0, "max": 9.0, "first": 5.0, "last": 9.0}
    channels = torch.tensor([[[0.0, 2.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert real_steps(channels).tolist() == [[True, True], [True, False]]


def test_padding_stays_zero_behind_standardisation() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(5.0, 2.0, size=(60, 3, 10)).astype("float32")
    lengths = rng.integers(4, 11, size=60)
    for row, length in enumerate(lengths):
        x[row, :, length:] = 0
    data = ArrayData({"x": x}, np.arange(60) % 2)
    seen = data.train.inputs["x"]
    for name in ("lstm", "transformer", "steps"):
        label = {"x": name if name == "steps" else f"{name}:steps=true"}
        first = build_model(data, encoders=label, fusion="bottleneck", width=16).encoders["x"][0]
        assert isinstance(first, Standardize)
        scaled = first(seen)
        assert torch.equal(scaled == 0, seen == 0)
        real = scaled.transpose(1, 2)[(seen != 0).any(1)]
        torch.testing.assert_close(real.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(real.std(0, correction=0), torch.ones(3))
    plain = build_model(data, encoders={"x": "cnn1d"}).encoders["x"][0]
    assert not torch.equal(plain(seen) == 0, seen == 0)  # as it always was
    unpadded = build_model(data, encoders={"x": "lstm:padding=false"}).encoders["x"][0]
    assert torch.equal(unpadded(seen), plain(seen))


def test_steps_pass_a_sequence_on() -> None:
    x = sequences()
    steps = Steps.build((3, 10))
    assert torch.equal(steps(x), x.transpose(1, 2)) and not list(steps.parameters())


@pytest.mark.parametrize("label", ["steps", "lstm:steps=true", "transformer:steps=true"])
def test_fusions_of_sequences_train_on_them(label: str) -> None:
    rng = np.random.default_rng(0)
    inputs = {m: rng.normal(size=(40, c, t)) for m, c, t in (("a", 3, 9), ("b", 2, 6))}
    data = ArrayData(inputs, np.arange(40) % 2)
    model = build_model(
        data, encoders={"a": label, "b": "transformer:steps=true"}, fusion="bottleneck", width=16
    )
    run = fit(model, data, epochs=1)
    assert np.isfinite(run.history[0]["loss"]["fused"])


@pytest.mark.parametrize("kind", KINDS)
def test_bf16(kind: type[Encoder]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = build(kind)(sequences())
    torch.testing.assert_close(found.float(), build(kind)(sequences()), atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (LSTM, {"layers": 0}, "layers must be a whole number from 1"),
        (LSTM, {"pool": "first"}, "unknown value for pool 'first'"),
        (LSTM, {"dropout": 2}, "dropout must be a number from 0 and below 1"),
        (LSTM, {"bidirectional": "no"}, "bidirectional of lstm must be true or false, found 'no'"),
        (LSTM, {"head": 2}, "unknown option of lstm 'head'"),
        (Transformer, {"heads": 3}, r"heads must divide the width \(16\), found 3"),
        (Transformer, {"positions": "none"}, "unknown value for positions"),
        (Transformer, {"layers": 0}, "layers must be a whole number from 1"),
    ],
)
def test_what_is_refused(kind: type[Encoder], options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build(kind, **options)


def test_attention_is_given_at_least_one_step() -> None:
    only = torch.tensor([[True, False, False, False]])
    assert bool(Attention(8, 4).eval()(torch.zeros(1, 4, 8), only).isfinite().all())
    with pytest.raises(InputError, match=r"samples of shape \[4\] are no sequence"):
        Steps.build((4,))
