"""One file of a model: what it computes, what it holds, what it says, what is refused."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import ask, draw, largest_gap, make
from folded import check_each
from torch import Tensor, nn
from toy import toy_data, weights

import counterpoise as cp
from counterpoise import InputError
from counterpoise.cli.main import main
from counterpoise.deploy.export import exported, files
from counterpoise.deploy.export.exported import Port, list_ports, tabulate_temperatures
from counterpoise.deploy.export.exporting import (
    check_same,
    export,
    make_standalone,
    open_exported,
)
from counterpoise.deploy.export.files import FORMATS


@pytest.fixture(scope="module")
def predictor() -> cp.Predictor:
    return make("multi-loss")


@pytest.fixture(scope="module")
def alone(predictor: cp.Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first modality alone, as ONNX and for PyTorch."""
    folder = tmp_path_factory.mktemp("alone")
    for kind in FORMATS.values():
        export(predictor, folder / f"a{kind.suffix}", modalities=["a"])
    return folder


@pytest.mark.slow
def test_every_subset_is_answered_as_the_model_answers(
    predictor: cp.Predictor, tmp_path: Path
) -> None:
    before = weights(predictor.model)
    assert largest_gap(predictor, tmp_path / "whole.onnx") < 1e-4
    after = weights(predictor.model)
    assert all(torch.equal(after[k], x) for k, x in before.items())
    run = open_exported(tmp_path / "whole.onnx").run
    inputs = draw(predictor, 2)
    masks = {f"{m}.present": np.array([False, m == "b"]) for m in predictor.modalities}
    found = run({**inputs, **masks})
    assert np.isnan(found[0]).all() and np.isfinite(found[1]).all()


def test_a_fixed_subset_is_answered_and_holds_no_other_encoder(
    predictor: cp.Predictor, alone: Path
) -> None:
    own = {tuple(p.shape) for p in predictor.model.encoders["a"].parameters()}
    others = {
        tuple(p.shape) for m in ("b", "c") for p in predictor.model.encoders[m].parameters()
    } - own
    assert (8, 5) in others and (8, 6) in others

    def check(kind: str) -> None:
        path = alone / f"a{FORMATS[kind].suffix}"
        stored = FORMATS[kind].tensors(path)
        # Stored as they are or turned, as ONNX may need them.
        shapes = set(stored.values()) | {shape[::-1] for shape in stored.values()}
        assert not shapes & others and own <= shapes
        assert not [name for name in stored if re.search(r"encoders\.(b|c)\b", name)]
        for rows in (1, 7):
            inputs = {"a": draw(predictor, rows)["a"]}
            found = open_exported(path).run(inputs)
            assert np.abs(found - ask(predictor, inputs)).max() < 1e-4

    check_each(FORMATS, check)


def test_what_a_file_says_of_itself(predictor: cp.Predictor, alone: Path) -> None:
    path = alone / "a.onnx"
    facts = json.loads((alone / "a.onnx.json").read_text())
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["bytes"] == path.stat().st_size and facts["format"] == "onnx"
    assert (facts["modalities"], facts["left_out"]) == (["a"], ["b", "c"])
    assert [p["name"] for p in facts["inputs"]] == ["a"]
    assert facts["inputs"][0]["shape"] == ["batch", 4] and facts["inputs"][0]["dtype"] == "float32"
    assert facts["classes"] == [0, 1, 2] and facts["method"] == "multi-loss"
    mask = torch.tensor([[True, False, False]])
    assert facts["temperature"] == pytest.approx(predictor.confidence.temperature(mask).item())
    assert list(facts["expected"]["test"]) == ["a"]
    assert facts["expected"]["test"]["a"] == json.loads(
        json.dumps(predictor.facts["figures"]["test"]["a"])
    )
    import onnx

    model = onnx.load(path)
    said = {entry.key: entry.value for entry in model.metadata_props}
    inside = json.loads(said["counterpoise"])
    assert {k: facts[k] for k in inside} == inside and "classes" in inside
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    # Nothing tells where the code lies on the machine that wrote it.
    for file in (path, alone / "a.pt2"):
        assert str(Path(cp.__file__).parent).encode() not in file.read_bytes()


def test_temperatures_are_looked_up() -> None:
    def temperature(present: Tensor) -> Tensor:
        return 1 + present.double() @ torch.arange(1.0, 1.0 + present.shape[1]).double()

    table = tabulate_temperatures(temperature, 3)
    assert table.tolist() == [1, 2, 3, 4, 4, 5, 6, 7]

    def by_count(present: Tensor) -> Tensor:
        return 1.0 + present.sum(1)

    assert tabulate_temperatures(by_count, 12).tolist() == [1.0 + k for k in range(13)]


def test_many_modalities_share_temperatures_by_their_number(
    monkeypatch: pytest.MonkeyPatch, predictor: cp.Predictor
) -> None:
    monkeypatch.setattr(exported, "MANY", 2)
    other = make_standalone(predictor, None)
    other.temperatures = torch.tensor([1.0, 2.0, 3.0, 4.0])
    masks = {m: torch.tensor([m == "a", m != "a", True]) for m in "abc"}
    assert other.find_temperature(masks)[:, 0].tolist() == [2, 3, 4]


@pytest.mark.slow
def test_half_stores_half(predictor: cp.Predictor, tmp_path: Path) -> None:
    large = make(width=64)

    def check(kind: str) -> None:
        suffix = FORMATS[kind].suffix
        small = export(large, tmp_path / f"half{suffix}", modalities=["a"], half=True)
        whole = export(large, tmp_path / f"whole{suffix}", modalities=["a"])
        inputs = {"a": draw(large, 7)["a"]}
        found = open_exported(tmp_path / f"half{suffix}").run(inputs)
        gap = np.abs(found - ask(large, inputs)).max()
        assert found.dtype == np.float32 and 0 < gap < 0.05
        assert whole["bytes"] - small["bytes"] > 1.5 * (64 * 64)

    check_each(FORMATS, check)


@pytest.mark.slow
def test_values_of_a_regression_are_in_its_units(tmp_path: Path) -> None:
    data = toy_data(2, regression=True)
    large = cp.ArrayData(
        {m: torch.cat([s.inputs[m] for s in data.splits.values()]).numpy() for m in "ab"},
        torch.cat([s.target for s in data.splits.values()]).numpy() * 1000 + 5e4,
        task="regression",
    )
    regression = make(data=large)
    facts = export(regression, tmp_path / "b.onnx", modalities=["b"])
    inputs = {"b": draw(regression, 7)["b"]}
    found, wanted = open_exported(tmp_path / "b.onnx").run(inputs), ask(regression, inputs)
    assert facts["output"]["name"] == "values" and facts["temperature"] is None
    assert np.abs(wanted).min() > 4e4 and np.abs(found / wanted - 1).max() < 1e-5


@pytest.mark.slow
def test_labels_have_a_probability_each(tmp_path: Path) -> None:
    labels = make(data=toy_data(2, multilabel=True))
    facts = export(labels, tmp_path / "b.onnx", modalities=["b"])
    inputs = {"b": draw(labels, 7)["b"]}
    found = open_exported(tmp_path / "b.onnx").run(inputs)
    assert facts["task"] == "multilabel" and found.shape == (7, 4)
    assert np.abs(found - ask(labels, inputs)).max() < 1e-4


def test_what_is_refused(predictor: cp.Predictor, alone: Path, tmp_path: Path) -> None:
    def check(line: str, out: Path, options: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=line):
            export(predictor, out, **options)

    new = tmp_path / "new.onnx"
    check_each(
        [
            ("unknown modality of the model 'd'.*known: a, b, c", new, {"modalities": ["d"]}),
            ("must name at least one, found none", new, {"modalities": []}),
            ("must be a list of names, found the text 'a'", new, {"modalities": "a"}),
            ("unknown value for format 'tflite'.*onnx, torch", new, {"format": "tflite"}),
            ("suffix of 'onnx'; call it new.pt2", new, {"format": "torch"}),
            ("a.onnx is there already.*--force", alone / "a.onnx", {}),
            ("is a folder; name a file", tmp_path, {}),
        ],
        check,
    )
    assert not list(tmp_path.iterdir())


class Counting(nn.Module):
    """[B, F] -> [B, 8], by way of a Python number."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(5, 8)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.map(x) * (1.0 if float(x.sum()) > 1e9 else 2.0)
        return found


class Sorting(nn.Module):
    """[B, F] -> [B, 8], by way of an operation that ONNX lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(5, 8)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.map(x.sort(dim=1, stable=True).values)
        return found


class Ranked(cp.Method):
    """The logits minus those of the first row of the batch."""

    name = "ranked"

    def predict(self, model: cp.MultimodalModel, batch: cp.Batch) -> Tensor:
        logits = super().predict(model, batch)
        return logits - logits[:1]


class Numbered(cp.Method):
    """The logits, by way of a Python number."""

    name = "numbered"

    def predict(self, model: cp.MultimodalModel, batch: cp.Batch) -> Tensor:
        logits = super().predict(model, batch)
        return logits * (1.0 if float(logits.sum()) > 1e9 else 2.0)


@pytest.mark.slow
def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    counting = make(encoders={"b": Counting()})
    with pytest.raises(InputError, match=r"encoder of 'b' \(Counting\).*--modalities a,c"):
        export(counting, tmp_path / "a.onnx")
    sorting = make(encoders={"b": Sorting()})
    with pytest.raises(InputError, match=r"encoder of 'b' cannot be written as ONNX \(aten.sort"):
        export(sorting, tmp_path / "b.onnx", modalities=["b"])
    export(sorting, tmp_path / "b.pt2", modalities=["b"])
    for path in tmp_path.iterdir():
        path.unlink()
    for method, line in (
        (Ranked(), "'ranked' predicts a row from the other rows"),
        (Numbered(), "prediction of method 'numbered' cannot be exported"),
    ):
        with pytest.raises(InputError, match=line):
            export(make(method), tmp_path / "a.onnx", modalities=["a"])
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_export_that_computes_something_else_is_not_kept(
    predictor: cp.Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make_standalone(predictor, ["a"])
    with pytest.raises(InputError, match="differs from the model by"):
        check_same(lambda x: np.full((len(x["a"]), 3), 0.3, np.float32), module)
    wrong = replace(FORMATS["onnx"], load=lambda path: lambda x: np.full((len(x["a"]), 3), np.nan))
    monkeypatch.setitem(files.FORMATS, "onnx", wrong)
    with pytest.raises(InputError, match="differs from the model by inf"):
        export(predictor, tmp_path / "a.onnx", modalities=["a"])
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_changed_is_not_opened(alone: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with pytest.raises(InputError, match=r"a.onnx.json is not there"):
        open_exported(path)
    (tmp_path / "a.onnx.json").write_text((alone / "a.onnx.json").read_text())
    with pytest.raises(InputError, match=r"a.onnx is not there"):
        open_exported(path)
    path.write_bytes((alone / "a.onnx").read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"damaged, or not what a.onnx.json describes"):
        open_exported(path)
    (tmp_path / "a.onnx.json").write_text("[]")
    with pytest.raises(InputError, match="no description of an exported model"):
        open_exported(path)


def test_inputs_have_names_of_their_own() -> None:
    text = {"input_ids": ("int64", (9,)), "attention_mask": ("int64", (9,))}
    ports = list_ports({"text": text, "a": {"": ("float32", (4,))}}, True)
    assert [p.name for p in ports] == [
        *("text.input_ids", "text.attention_mask", "a", "text.present", "a.present")
    ]
    assert ports[0] == Port("text.input_ids", "text", "input_ids", "int64", (9,))
    with pytest.raises(InputError, match=r"a.present and a would both have an input 'a.present'"):
        list_ports({"a.present": {"": ("float32", (4,))}, "a": {"": ("float32", (4,))}}, True)


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = toy_data(2)
    np.savez(
        tmp_path / "toy.npz",
        **{m: torch.cat([s.inputs[m] for s in data.splits.values()]).numpy() for m in "ab"},
        target=torch.cat([s.target for s in data.splits.values()]).numpy(),
    )
    folder, out = tmp_path / "run", tmp_path / "a.onnx"
    words = ["train", str(tmp_path / "toy.npz"), "--epochs", "1"]
    assert main([*words, "--out", str(folder)]) == 0
    assert main(["pack", str(folder), str(tmp_path / "pack")]) == 0
    capsys.readouterr()
    words = ["export", str(folder), str(out), "--modalities", "a"]
    assert main([*words, "--verify"]) == 0
    said = capsys.readouterr().out
    assert "left out: b" in said and "largest difference on" in said and "inputs: a float32" in said
    assert main(words) == 2 and "--force" in capsys.readouterr().err
    assert main([*words, "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["modalities"] == ["a"]
    words = ["export", str(tmp_path / "pack"), str(tmp_path / "b.onnx"), "--verify"]
    assert main(words) == 2 and "--verify must name the data" in capsys.readouterr().err
    assert not (tmp_path / "b.onnx").exists()
    assert main([*words, str(tmp_path / "toy.npz"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verified"]["difference"] < 1e-4 and len(found["inputs"]) == 4
