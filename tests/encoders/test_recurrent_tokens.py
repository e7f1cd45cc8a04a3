"""Recurrent networks over token numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each
from torch import Tensor

from counterpoise import ArrayData, InputError, MultimodalClassifier, build_model, fit
from counterpoise.encoders import GRU, LSTM, Standardize
from counterpoise.encoders.base import Encoder
from counterpoise.encoders.sequence import Recurrent

IDS = torch.randint(1, 30, (4, 9), generator=torch.Generator().manual_seed(0))
SHAPE = {"input_ids": (9,), "attention_mask": (9,)}


def build(kind: type[Encoder], **options: Any) -> Recurrent:
    torch.manual_seed(0)
    made = kind.build(SHAPE, 8, **{"vocabulary": 30, **options}).eval()
    assert isinstance(made, Recurrent)
    return made


def scatter(places: list[int], length: int = 14) -> dict[str, Tensor]:
    """The tokens at these places, and others where there is padding."""
    ids, mask = torch.full((4, length), 7), torch.zeros(4, length, dtype=torch.long)
    ids[:, places], mask[:, places] = IDS, 1
    return {"input_ids": ids, "attention_mask": mask}


OPTIONS: list[dict[str, Any]] = [
    {},
    {"pool": "mean"},
    {"pool": "max", "layers": 2},
    {"bidirectional": True},
    {"bidirectional": True, "pool": "mean"},
]
PLACES = [list(range(9)), list(range(5, 14)), [0, 1, 3, 4, 6, 8, 9, 12, 13]]  # right, left, holes


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_padding_changes_nothing_wherever_it_is(kind: type[Encoder]) -> None:
    def check(options: dict[str, Any], places: list[int]) -> None:
        encoder = build(kind, **options)
        with torch.no_grad():
            torch.testing.assert_close(encoder(scatter(places)), encoder(IDS))
            blind = build(kind, **options, padding=False)
            assert not torch.allclose(blind(scatter(places)), blind(IDS), atol=1e-4)
            steps = build(kind, **options, steps=True)
            kept = steps(scatter(places))
            torch.testing.assert_close(kept[:, places], steps(IDS))
            assert int(kept.any(2).sum()) == IDS.numel()

    check_each([(options, places) for options in OPTIONS for places in PLACES], check)


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_texts_of_several_lengths_are_what_pytorch_makes_of_each(kind: type[Encoder]) -> None:
    for both in (False, True):
        encoder, ids = build(kind, bidirectional=both), IDS.clone()
        lengths = [9, 4, 1, 6]
        for row, length in enumerate(lengths):
            ids[row, length:] = 0
        network, table = encoder.get_submodule(encoder.part), encoder.embed
        assert table is not None
        for row, length in enumerate(lengths):
            state = network(table.weight[ids[row : row + 1, :length]])[1]
            state = state[0] if kind is LSTM else state
            torch.testing.assert_close(encoder(ids)[row], state[:, 0].flatten())
        torch.testing.assert_close(encoder(ids)[1:2], encoder(ids[1:2, :5]))


def test_empty_texts_and_unknown_tokens() -> None:
    encoder = build(LSTM, bidirectional=True)
    nothing = {"input_ids": IDS, "attention_mask": torch.zeros_like(IDS)}
    assert bool(encoder(nothing).isfinite().all())
    odd, known = IDS.clone(), IDS.clone()
    odd[:, 1], odd[:, 2], known[:, 1:3] = 30, -1, 0
    mask = torch.ones_like(IDS)
    found = [encoder({"input_ids": x, "attention_mask": mask}) for x in (odd, known)]
    torch.testing.assert_close(*found)


def data_of(dtype: str = "int64", **text: Any) -> ArrayData:
    rng = np.random.default_rng(0)
    goal = np.arange(80) % 2
    ids = (rng.integers(1, 20, size=(80, 6)) + 20 * goal[:, None]).astype(dtype)
    ids[:, 4:] = 0
    words = {"input_ids": ids, "attention_mask": (ids != 0).astype("int64")}
    return ArrayData({"text": words, "bare": ids}, goal, **text)


@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_labels_tell_tokens_from_sequences(name: str, dtype: str) -> None:
    data = data_of(dtype)
    labels = {"text": f"{name}:width=12:bidirectional=true", "bare": name}
    model = build_model(data, encoders=labels, width=8)
    assert model.fusion.widths == {"text": 24, "bare": 8}
    for encoder in model.encoders.values():
        assert isinstance(encoder, Recurrent) and encoder.embed is not None
        assert encoder.embed.num_embeddings == int(data.train.inputs["bare"].max()) + 1  # type: ignore[union-attr,operator]
    run = fit(model, data, epochs=8, lr=0.05)
    assert run.evaluate(data).metrics[("text", "bare")]["accuracy"] > 0.9
    x = np.random.default_rng(0).normal(size=(40, 3, 9)).astype("float32")
    numbers = build_model(ArrayData({"x": x}, np.arange(40) % 2), encoders={"x": name}).encoders[
        "x"
    ]
    assert isinstance(numbers[0], Standardize) and numbers[1].embed is None


def test_an_estimator_takes_them() -> None:
    goal = np.arange(60) % 2
    ids = np.random.default_rng(0).integers(1, 9, (60, 5)) + 9 * goal[:, None]
    model = MultimodalClassifier(encoders={"text": "gru:width=8"}, epochs=15, lr=0.05)
    assert model.fit({"text": ids}, goal).score({"text": ids}, goal) > 0.9


def test_what_is_refused() -> None:
    data = data_of()
    floats = ArrayData(
        {"x": np.random.rand(40, 5), "y": np.random.rand(40, 3, 9)}, np.arange(40) % 2
    )

    def refuse(known: ArrayData, name: str, label: str, said: str) -> None:
        with pytest.raises(InputError, match=f"encoder of '{name}': .*{said}") as error:
            build_model(known, encoders={name: label})
        assert "\n" not in str(error.value)

    check_each(
        [
            (floats, "x", "lstm", r"samples of shape \[5\] are no sequence"),
            (floats, "y", "gru:vocabulary=9", r"vocabulary is of tokens \[T\], found samples"),
            (data, "text", "lstm:wide=3", "unknown option of lstm 'wide'"),
            (data, "text", "gru:layers=0", "layers must be a whole number from 1"),
            (data, "text", "gru:width=0", "width must be a whole number from 1"),
            (data, "text", "transformer", "are no sequence; tokens, lstm and gru read token num"),
        ],
        refuse,
    )
    with pytest.raises(InputError, match="sequences are one tensor"):
        LSTM.build((3, 9), 8)(scatter(PLACES[0]))


def test_negative_numbers_are_said() -> None:
    goal = np.arange(60) % 2
    ids = np.random.default_rng(0).integers(1, 900, (60, 5))
    ids[:, 3:] = -1
    for label in ("tokens", "lstm"):
        with pytest.warns(UserWarning, match="t: token numbers from -1; negative ones count as"):
            build_model(ArrayData({"t": ids}, goal), encoders={"t": label})
        masked = {"input_ids": ids, "attention_mask": (ids > 0).astype("int64")}
        build_model(ArrayData({"t": masked}, goal), encoders={"t": label})
