"""Exported files compute what the model does: every fusion, method and encoder, every subset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import ask, draw, largest_gap, make
from folded import check_each
from settings import CASES, build
from toy import toy_data

import counterpoise as cp
from counterpoise import InputError
from counterpoise.deploy.export.exporting import export, open_exported
from counterpoise.deploy.export.files import FORMATS
from counterpoise.fusion import FUSIONS

NEAR = 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_every_fusion(fusion: str, tmp_path: Path) -> None:
    """With masks, for every subset of three modalities, rows alone and seven together."""
    predictor = make(fusion=fusion, steps=FUSIONS[fusion].steps)
    assert largest_gap(predictor, tmp_path / "whole.onnx") < NEAR
    assert largest_gap(predictor, tmp_path / "whole.pt2") < NEAR


@pytest.mark.slow
@pytest.mark.parametrize("fusion", list(FUSIONS))
def test_every_fusion_with_fixed_modalities(fusion: str, tmp_path: Path) -> None:
    """A subset in a file of its own, which holds no parameter of another encoder."""
    predictor = make(fusion=fusion, steps=FUSIONS[fusion].steps)
    torch.manual_seed(1)
    for k, name in enumerate(predictor.modalities):  # to be told from those of the others
        for parameter in predictor.model.encoders[name].parameters():
            torch.nn.init.uniform_(parameter, k + 0.25, k + 0.75)

    def check(*names: str) -> None:
        path = tmp_path / f"{'-'.join(names)}.pt2"
        export(predictor, path, modalities=names)
        for rows in (1, 7):
            inputs = {m: x for m, x in draw(predictor, rows).items() if m in names}
            found = open_exported(path).run(inputs)
            assert np.abs(found - ask(predictor, inputs)).max() < NEAR
        stored = FORMATS["torch"].tensors(path)
        held = {m for m in "abc" if any(f"encoders.{m}." in name for name in stored)}
        assert held == set(names)

    check_each([("a",), ("c",), ("a", "b"), ("a", "b", "c")], check)


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if c == "joint" or build(c).ruler()])
def test_every_method(case: str, tmp_path: Path) -> None:
    """All of :data:`settings.CASES` whose rule for prediction is the method's own."""
    predictor = make(build(case))
    assert largest_gap(predictor, tmp_path / "whole.onnx") < NEAR


@pytest.mark.slow
def test_a_method_that_predicts_from_the_whole_batch_is_refused(tmp_path: Path) -> None:
    released = make(cp.build_method("mla", mode="released"))
    with pytest.raises(InputError, match="'mla' predicts a row from the other rows"):
        export(released, tmp_path / "whole.onnx")
    # A single modality has all the weight, whatever the other rows are.
    alone = export(released, tmp_path / "a.onnx", modalities=["a"])
    assert alone["fixed"] is True


ENCODERS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "mlp": ("mlp", (6,), {}),
    "cnn1d": ("cnn1d", (3, 20), {}),
    "cnn2d": ("cnn2d", (12, 14), {}),
    "cnn2d of colours": ("cnn2d", (3, 12, 14), {}),
    "resnet18": ("resnet18", (3, 32, 32), {}),
    "frames": ("resnet18", (4, 3, 32, 32), {}),
    "lstm": ("lstm", (3, 20), {}),
    "lstm, both ways": ("lstm:bidirectional=true", (3, 20), {}),
    "lstm, mean": ("lstm:pool=mean:layers=2", (3, 20), {}),
    "gru": ("gru", (3, 20), {}),
    "gru, both ways": ("gru:bidirectional=true:pool=max", (3, 20), {}),
    "transformer": ("transformer", (3, 20), {}),
    "transformer, sinusoidal": ("transformer:positions=sinusoidal:pool=first", (3, 20), {}),
    "tokens": ("tokens", (9,), {"high": 30}),
    "tokens, a bag": ("tokens:layers=0", (9,), {"high": 30}),
    "lstm of tokens": ("lstm", (9,), {"high": 30}),
    "gru of tokens, both ways": ("gru:bidirectional=true", (9,), {"high": 30}),
    "steps": ("steps", (3, 20), {"fusion": "bottleneck"}),
    "lstm, steps": ("lstm:steps=true", (3, 20), {"fusion": "bottleneck"}),
}


def sample(shape: tuple[int, ...], rows: int, high: int = 0) -> np.ndarray[Any, Any]:
    """Numbers, or token numbers with padding at the end."""
    generator = np.random.default_rng(rows)
    if not high:
        return generator.normal(size=(rows, *shape)).astype(np.float32)
    tokens = generator.integers(1, high, (rows, *shape))
    return np.where(np.arange(shape[0]) < generator.integers(1, shape[0] + 1, (rows, 1)), tokens, 0)


@pytest.mark.slow
@pytest.mark.parametrize("case", list(ENCODERS))
def test_every_encoder(case: str, tmp_path: Path) -> None:
    label, shape, more = ENCODERS[case]
    high, fusion = more.get("high", 0), more.get("fusion")
    other = (3, 20) if fusion else (5,)
    data = cp.ArrayData(
        {"a": sample(shape, 60, high), "b": sample(other, 60)}, np.arange(60) % 3, name="toy"
    )
    encoders = {"a": label} | ({"b": label} if fusion else {})
    predictor = make(data=data, encoders=encoders, fusion=fusion)

    def check(kind: str) -> None:
        path = tmp_path / f"a{FORMATS[kind].suffix}"
        export(predictor, path, modalities=["a"])
        for rows in (1, 7):
            inputs = {"a": sample(shape, rows, high)}
            found = open_exported(path).run(inputs)
            assert np.abs(found - ask(predictor, inputs)).max() < NEAR

    check_each(FORMATS, check)


@pytest.mark.slow
def test_zeros_inside_and_at_the_end_of_a_sequence(tmp_path: Path) -> None:
    """A recurrent network reads no padding, in the file either."""
    data = toy_data(2, sequences=True)
    predictor = make(data=data, encoders={"a": "lstm:bidirectional=true"})
    export(predictor, tmp_path / "a.onnx", modalities=["a"])
    rows = draw(predictor, 4)["a"]
    rows[1, :, 5:] = 0
    rows[2, :, 3:6] = 0
    rows[3] = 0
    found = open_exported(tmp_path / "a.onnx").run({"a": rows})
    wanted = ask(predictor, {"a": rows})
    assert np.abs(found - wanted).max() < NEAR
