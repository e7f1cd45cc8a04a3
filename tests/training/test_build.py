"""A model for a data set: encoders by shape, the method's fusion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from toy import toy_data

from counterpoise import ArrayData, Concat, InputError, Late, Shared, build_model
from counterpoise.data.kinds import kind_of
from counterpoise.encoders import MLP, CNN1d, CNN2d, Standardize


def arrays(shape: tuple[int, ...], **options: Any) -> ArrayData:
    x = np.random.default_rng(0).normal(3.0, 2.0, size=(30, *shape)).astype("float32")
    return ArrayData({"x": x}, np.arange(30) % 2, **options)


@pytest.mark.parametrize(
    ("shape", "kind", "encoder"),
    [
        ((5,), "vector", MLP),
        ((3, 40), "sequence", CNN1d),
        ((60, 200), "sequence", CNN1d),
        ((28, 28), "image", CNN2d),
        ((40, 48), "image", CNN2d),
        ((3, 20, 31), "image", CNN2d),
    ],
)
def test_encoders_by_shape(shape: tuple[int, ...], kind: str, encoder: type[nn.Module]) -> None:
    assert kind_of(shape) == kind
    data = arrays(shape)
    model = build_model(data, width=16)
    assert isinstance(model.encoders["x"][1], encoder)
    assert model(data.train[torch.arange(4)]).features["x"].shape == (4, 16)


def test_default_encoders_standardise_by_the_training_part_unless_scaled() -> None:
    data = arrays((5,))
    scale = build_model(data, width=8).encoders["x"][0]
    assert isinstance(scale, Standardize)
    scaled = scale(data.train.inputs["x"])
    torch.testing.assert_close(scaled.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(5))
    assert isinstance(build_model(arrays((5,), scaled=True), width=8).encoders["x"], MLP)


def test_a_constant_feature_stays_finite() -> None:
    x = np.ones((30, 3), dtype="float32")
    model = build_model(ArrayData({"x": x}, np.arange(30) % 2), width=8)
    assert bool(model.encoders["x"](torch.ones(2, 3)).isfinite().all())


def test_kinds_and_given_encoders_win() -> None:
    data = arrays((9, 10), kinds={"x": "sequence"})
    assert isinstance(build_model(data).encoders["x"][1], CNN1d)
    assert isinstance(build_model(data, encoders={"x": "image"}).encoders["x"][1], CNN2d)
    own = nn.Sequential(nn.Flatten(), nn.Linear(90, 7))
    model = build_model(data, encoders={"x": own})
    assert model.encoders["x"] is own
    assert model.fusion.widths == {"x": 7}


def test_the_method_decides_the_fusion() -> None:
    data = toy_data()
    kinds = {m: type(build_model(data, m).fusion) for m in ("joint", "unimodal", "mla")}
    assert kinds == {"joint": Concat, "unimodal": Late, "mla": Shared}
    assert isinstance(build_model(data, "joint", fusion="late").fusion, Late)


def test_seeds_decide_the_weights_and_leave_the_global_state() -> None:
    data = toy_data()
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    first, same, other = (build_model(data, seed=s).fusion.head.weight for s in (0, 0, 1))
    assert torch.equal(torch.rand(2), wanted)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoders": {"y": MLP(5)}}, "unknown modality in encoders 'y'; known: x"),
        ({"encoders": {"x": MLP(4)}}, "does not take samples of shape [5]"),
        (
            {"encoders": {"x": nn.Unflatten(1, (5, 1))}},
            "must give features [B, D], found [1, 5, 1]",
        ),
        ({"encoders": {"x": "sequence"}}, "samples of shape [5] are no sequence"),
        ({"encoders": {"x": "sound"}}, "known: mlp, cnn1d, cnn2d"),
        ({"fusion": "concatenate"}, "did you mean 'concat'?"),
        ({"precision": "fp16"}, "known: fp32, bf16"),
        ({"unimodal": "slices"}, "did you mean 'slice'?"),
    ],
)
def test_what_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        build_model(arrays((5,)), **options)
    assert said in str(error.value)


def test_shapes_and_types_without_a_default_encoder() -> None:
    with pytest.raises(InputError, match="no default encoder for 'x'"):
        build_model(arrays((2, 4, 4, 5)))
    tokens = ArrayData({"x": np.ones((30, 4), dtype=int)}, np.arange(30) % 2)
    with pytest.raises(InputError, match="holds whole numbers: if they are tokens"):
        build_model(tokens)
