"""Encoders can be exported for any number of rows, and compute the same without packing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from folded import check_each
from test_hugging_face import MODELS, model_of
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from counterpoise.core.batch import Input, map_tensors
from counterpoise.core.presence import dense
from counterpoise.encoders import (
    GRU,
    LSTM,
    MLP,
    Adapter,
    CNN1d,
    CNN2d,
    HuggingFace,
    ResNet18,
    Standardize,
    Steps,
    Tokens,
    Transformer,
)
from counterpoise.encoders.adapter import feed
from counterpoise.encoders.recurrent import read_both_ways
from counterpoise.encoders.sequence import Recurrent

ROWS, T, SIZES = 7, 9, (1, 7)
lstm_weights = pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")


def drawn(*shape: int) -> Tensor:
    return torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(0))


def sequences() -> Tensor:
    """With zeros inside, padding of every length, and a row of nothing but zeros."""
    found = drawn(3, T)
    for row in range(1, ROWS):
        found[row, :, max(0, T - 2 * row + 1) :] = 0
    found[0, :, 2] = found[ROWS - 1] = 0
    return found


def pixels(*shape: int) -> Tensor:
    return (drawn(*shape) * 60 + 128).clamp(0, 255).byte()


def words() -> dict[str, Tensor]:
    """Tokens with padding behind, in front, inside, and a row without any."""
    ids = torch.randint(2, 20, (ROWS, T), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(T) < torch.tensor([[9], [4], [1], [9], [0], [7], [9]])).long()
    mask[3, :4], mask[5, 2] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def bare_words() -> Tensor:
    found = words()
    return found["input_ids"] * found["attention_mask"]


class Plain(Recurrent):
    """Not of the library: the network without gates."""

    part, network = "rnn", nn.RNN


def standardize() -> nn.Module:
    return Standardize(torch.ones(3, 1), torch.full((3, 1), 2.0), padding=True, inner=False)


def hugging_face(name: str, **options: Any) -> HuggingFace:
    return HuggingFace(model_of(name), **options)


Case = tuple[Callable[[], nn.Module], Callable[[], Input]]
RECURRENT: dict[str, Case] = {
    f"{kind.__name__}, {layers} layers, {options}, {len(given().shape) if plain else 'tokens'}": (
        partial(kind, 3 if plain else 4, 4, layers=layers, **options, **more),
        given,
    )
    for kind in (LSTM, GRU, Plain)
    for layers in (1, 2)
    for options in (
        {"bidirectional": True},
        {"bidirectional": True, "pool": "mean"},
        {"bidirectional": True, "steps": True},
        {"bidirectional": True, "padding": False},
        {"pool": "max"},
    )
    for given, plain, more in ((sequences, True, {}), (words, False, {"vocabulary": 20}))
}
OTHERS: dict[str, Case] = {
    "mlp": (partial(MLP, 5, 8), lambda: drawn(5)),
    "cnn1d": (partial(CNN1d, 3, 8), sequences),
    "cnn2d": (partial(CNN2d, None, 8), lambda: drawn(12, 10)),
    "cnn2d, colours": (partial(CNN2d, 3, 8), lambda: drawn(3, 12, 10)),
    "resnet18": (partial(ResNet18, 3, crop=32), lambda: pixels(3, 36, 40)),
    "resnet18, frames": (partial(ResNet18, 3, steps=True), lambda: pixels(2, 3, 32, 32)),
    "resnet18, spectrograms": (partial(ResNet18, 1), lambda: drawn(33, 32)),
    "steps": (Steps, sequences),
    "standardize": (standardize, sequences),
    "transformer": (partial(Transformer, 3, T, 8), sequences),
    "transformer, steps": (partial(Transformer, 3, T, 8, steps=True), sequences),
    "transformer, sinusoidal": (
        partial(Transformer, 3, 5, 8, positions="sinusoidal", pool="last", padding=False),
        sequences,
    ),
    "tokens": (partial(Tokens, T, 8, vocabulary=20), words),
    "tokens, no mask": (partial(Tokens, T, 8, vocabulary=15, pool="first"), bare_words),
    "tokens, no layers": (partial(Tokens, T, 8, vocabulary=20, layers=0, steps=True), words),
    "tokens, alone": (partial(LSTM, 4, 4, bidirectional=True, vocabulary=20), bare_words),
    "adapter": (
        lambda: Adapter(nn.GRU(T, 6, batch_first=True), pick=0, pool="max"),
        sequences,
    ),
}
LIBRARY: dict[str, Case] = {
    f"{name}, {options}": (partial(hugging_face, name, **options), MODELS[name][2])
    for name in MODELS
    for options in ({}, {"steps": True})
}
CASES = RECURRENT | OTHERS | LIBRARY


def build(case: str) -> tuple[nn.Module, Input]:
    """In evaluation mode, and its samples."""
    make, samples = CASES[case]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        encoder = make()
        for module in encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return encoder.eval(), samples()


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def check_dense(case: str) -> None:
    encoder, given = build(case)
    for rows in SIZES:
        some = map_tensors(given, lambda x, rows=rows: x[:rows])
        with dense():
            found = feed(encoder, some)
        close(found, feed(encoder, some))


class Encoded(nn.Module):
    """An encoder as a model calls it."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: Input) -> Any:
        return feed(self.encoder, inputs)


@torch.no_grad()
def check_export(case: str) -> None:
    encoder, given = build(case)
    size = {0: torch.export.Dim("batch")}
    shapes = size if isinstance(given, Tensor) else dict.fromkeys(given, size)
    example = map_tensors(given, lambda x: x[:3])
    with dense():
        program = torch.export.export(
            Encoded(encoder), (example,), dynamic_shapes=(shapes,), strict=False
        )
    module = program.module()
    for rows in SIZES:
        some = map_tensors(given, lambda x, rows=rows: repeat(x, rows))
        close(module(some), feed(encoder, some))


def repeat(rows: Tensor, count: int) -> Tensor:
    return rows.repeat(3, *[1] * (rows.dim() - 1))[:count]


def test_recurrent_networks_read_the_same_without_packing() -> None:
    check_each(RECURRENT, check_dense)


@torch.no_grad()
def test_without_packing_padding_is_zeros_too() -> None:
    network = nn.LSTM(3, 4, 2, batch_first=True, bidirectional=True)
    rows, lengths = drawn(T, 3), torch.tensor([9, 4, 1, 8, 3, 7, 9])
    real = torch.arange(T) < lengths[:, None]
    packed = pack_padded_sequence(rows, lengths, batch_first=True, enforce_sorted=False)
    found, (hidden, _) = network(packed)
    states, last = read_both_ways(network, rows, real)
    close(states, pad_packed_sequence(found, batch_first=True, total_length=T)[0])
    close(last, hidden[-2:].transpose(0, 1).flatten(1))


def test_a_backward_direction_that_reads_padding_would_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from counterpoise.encoders import sequence

    def read(network: nn.RNNBase, rows: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        states, last = network(rows)
        return states, (last[0] if isinstance(last, tuple) else last)[-2:].transpose(0, 1).flatten(
            1
        )

    monkeypatch.setattr(sequence, "read_both_ways", read)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        check_dense(next(iter(RECURRENT)))


def test_training_packs_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    from counterpoise.encoders import sequence

    monkeypatch.delattr(sequence, "read_both_ways")
    encoder, samples = build(next(iter(RECURRENT)))
    wanted = encoder.train()(samples)
    with dense():
        assert torch.equal(encoder(samples), wanted)


@pytest.mark.slow
@lstm_weights
def test_every_encoder_exports() -> None:
    check_each([*OTHERS, *(case for case in RECURRENT if "2 layers" in case)], check_export)


@pytest.mark.slow
def test_models_of_the_transformers_library_export() -> None:
    check_each(LIBRARY, check_export)
