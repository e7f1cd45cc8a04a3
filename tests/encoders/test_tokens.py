"""Token numbers: masks, unknown tokens, and where the vocabulary comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from counterpoise import ArrayData, InputError, build_model, fit
from counterpoise.data.columns import Decoded
from counterpoise.data.readers import Reader, Text
from counterpoise.data.readers.base import Value
from counterpoise.encoders import Tokens

IDS = torch.randint(1, 30, (4, 9), generator=torch.Generator().manual_seed(0))


def text(ids: Tensor = IDS, length: int | None = None) -> dict[str, Tensor]:
    mask = torch.ones_like(ids)
    if length is not None:
        mask[:, length:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def build(**options: Any) -> Tokens:
    torch.manual_seed(0)
    shape = {"input_ids": (12,), "attention_mask": (12,)}
    return Tokens.build(shape, 16, **{"vocabulary": 30, **options}).eval()


@pytest.mark.parametrize("options", [{}, {"layers": 0}, {"pool": "first"}, {"pool": "max"}])
def test_shapes_gradients_and_batch_mates(options: dict[str, Any]) -> None:
    encoder = build(**options)
    features = encoder(text())
    assert features.shape == (4, 16)
    features.square().sum().backward()
    grad = encoder.embed.weight.grad
    assert grad is not None and bool(grad[IDS[:, 0]].abs().sum(1).gt(0).all())
    with torch.no_grad():
        torch.testing.assert_close(encoder(text(IDS[1:2])), encoder(text())[1:2])


@pytest.mark.parametrize(
    "options", [{}, {"layers": 0}, {"layers": 0, "pool": "max"}, {"positions": "sinusoidal"}]
)
def test_padding_changes_nothing(options: dict[str, Any]) -> None:
    encoder = build(**options)
    long = F.pad(IDS, (0, 3), value=7)
    with torch.no_grad():
        torch.testing.assert_close(encoder(text(long, 9)), encoder(text()))
        assert not torch.allclose(encoder(text(long)), encoder(text()), atol=1e-4)
        # Without a mask 0 is padding.
        bare = F.pad(IDS, (0, 3))
        torch.testing.assert_close(encoder(bare), encoder(text()))
        torch.testing.assert_close(encoder({"input_ids": bare}), encoder(text()))


def test_steps_and_empty_texts() -> None:
    encoder = build(steps=True)
    steps = encoder(text(length=5))
    assert steps.shape == (4, 9, 16)
    assert not steps[:, 5:].any() and bool(steps[:, :5].any(2).all())
    assert bool(build()(text(length=0)).isfinite().all())


def test_a_bag_of_words_is_the_mean_of_its_words() -> None:
    encoder = build(layers=0)
    torch.testing.assert_close(encoder(text(length=4)), encoder.embed(IDS[:, :4]).mean(1))
    assert sum(p.numel() for p in encoder.parameters()) == 30 * 16


def test_numbers_outside_of_the_vocabulary_count_as_0() -> None:
    encoder = build()
    odd, known = IDS.clone(), IDS.clone()
    odd[:, 1], odd[:, 2] = 30, -1
    known[:, 1:3] = 0
    torch.testing.assert_close(encoder(text(odd)), encoder(text(known)))


@dataclass(frozen=True)
class Words(Reader):
    """Numbers of words, as they are."""

    def read(self, cell: Any) -> Value:
        ids = np.array(cell)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


TEXTS = Text().fit(["one two", "two three"])


def data_of(reader: Reader | None = None) -> ArrayData:
    ids = np.random.default_rng(0).integers(1, 20, size=(60, 5))
    ids[0, 0] = 19
    split = np.array(["train"] * 40 + ["validation"] * 10 + ["test"] * 10)
    ids[50:, 0] = 25  # words that training has not seen
    mask = np.ones_like(ids)
    inputs = {"text": {"input_ids": ids, "attention_mask": mask}, "x": np.eye(60)[:, :3]}
    data = ArrayData(inputs, np.arange(60) % 2, split=split)
    if reader is not None:
        data.readers["text"] = reader
    return data


@pytest.mark.parametrize(
    ("reader", "vocabulary"),
    [
        (None, 20),
        (Words(), 20),
        (TEXTS, TEXTS.vocabulary_size),
    ],
)
def test_the_vocabulary_is_the_readers_or_that_of_training(
    reader: Reader | None, vocabulary: int
) -> None:
    encoder = build_model(data_of(reader), width=8).encoders["text"]
    assert isinstance(encoder, Tokens) and encoder.vocabulary == vocabulary


def test_the_vocabulary_of_what_lies_outside_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoise.encoders.text.PART", 16)
    data = data_of()
    cells = data.train.inputs["text"]["input_ids"].tolist()  # type: ignore[call-overload,index,union-attr]
    cells[-1][2] = 41
    spec = {"input_ids": ("int64", (5,)), "attention_mask": ("int64", (5,))}
    data.train.inputs["text"] = Decoded(cells, Words(), spec, [str(k) for k in range(40)])
    model = build_model(data, width=8)
    assert model.encoders["text"].vocabulary == 42


def test_texts_train_and_unseen_words_do_no_harm() -> None:
    data = data_of()
    run = fit(build_model(data, width=8), data, epochs=1)
    assert set(run.evaluate(data).metrics)
    model = build_model(data, encoders={"text": "tokens:layers=0:width=6:vocabulary=9"}, width=8)
    assert model.fusion.widths == {"text": 6, "x": 8}
    assert model.encoders["text"].vocabulary == 9


def test_numbers_alone_are_tokens_where_it_is_said() -> None:
    ids = np.random.default_rng(0).integers(1, 20, size=(60, 5))
    data = ArrayData({"text": ids}, np.arange(60) % 2)
    model = build_model(data, encoders={"text": "tokens"}, width=8)
    assert model(data.train[torch.arange(3)]).logits.shape == (3, 2)
    with pytest.raises(InputError, match=r"choose --encoder text=tokens"):
        build_model(data)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("tokens:vocabulary=0", "vocabulary must be a whole number from 1"),
        ("tokens:layers=-1", "layers must be a whole number from 0"),
        ("tokens:pool=sum", "unknown value for pool 'sum'"),
        ("mlp", "several tensors .* are no vector"),
        ("resnet18", "several tensors .* are no picture"),
    ],
)
def test_what_is_refused(label: str, said: str) -> None:
    with pytest.raises(InputError, match=f"encoder of 'text': .*{said}"):
        build_model(data_of(), encoders={"text": label})


def test_pictures_are_no_tokens() -> None:
    with pytest.raises(InputError, match=r"tokens are input_ids \[T\], .* found \[3, 8, 8\]"):
        Tokens.build((3, 8, 8), vocabulary=3)
    with pytest.raises(InputError, match="found words"):
        Tokens.build({"words": (3,)}, vocabulary=3)
