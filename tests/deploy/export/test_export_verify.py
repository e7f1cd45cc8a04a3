"""What `--verify` finds: differences, accuracy, sizes, times; and the data that it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exporting import make
from folded import check_each
from toy import toy_data

import counterpoise as cp
from counterpoise import InputError
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.data import Dataset
from counterpoise.deploy.export import verify as verifying
from counterpoise.deploy.export.exporting import export, facts_file
from counterpoise.deploy.export.files import FORMATS
from counterpoise.deploy.export.trace import distance
from counterpoise.deploy.export.verify import format_report, measure, race, verify


@pytest.fixture(scope="module")
def data() -> cp.Dataset:
    return toy_data(3, 0.3, samples=200)


@pytest.fixture(scope="module")
def predictor(data: cp.Dataset) -> cp.Predictor:
    return make(data=data)


@pytest.fixture(scope="module")
def alone(predictor: cp.Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("alone") / "a.pt2"
    export(predictor, path, modalities=["a"])
    return path


def test_what_is_compared(
    predictor: cp.Predictor, data: cp.Dataset, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "SIZES", {1: 5, 32: 3})
    threads = torch.get_num_threads()
    found = verify(alone, predictor, data)
    assert torch.get_num_threads() == threads
    rows = data.validation.present["a"]
    assert found["rows"] == int(rows.sum()) and found["difference"] < 1e-4
    split = data.validation
    inputs = {"a": split.inputs["a"][rows].numpy()}
    right = predictor.predict(inputs).label == split.target[rows].numpy()
    assert found["metric"] == "accuracy"
    assert found["value"] == {
        "file": pytest.approx(right.mean()),
        "model": pytest.approx(right.mean()),
    }
    assert found["bytes"]["file"] == alone.stat().st_size
    weights = predictor.model.state_dict().values()
    assert found["bytes"]["model"] == sum(4 * x.numel() for x in weights)
    for kind in ("file", "model"):
        times = found["milliseconds"][kind]
        assert list(times) == ["1", "32"]
        assert all(0 < t["median"] <= t["p99"] for t in times.values())
    said = format_report(found)
    assert "ms, 32 at once, p99" in said and "accuracy" in said


@pytest.mark.slow
def test_a_wrong_file_is_told(
    predictor: cp.Predictor, data: cp.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every subset is looked at: an error that only shows without ``b`` and ``c`` is found."""
    monkeypatch.setattr(verifying, "SIZES", {1: 2})
    export(predictor, tmp_path / "w.onnx")
    right = verify(tmp_path / "w.onnx", predictor, data)
    assert right["difference"] < 1e-4 and right["rows"] == len(data.validation)
    load = FORMATS["onnx"].load

    def spoil(path: Path):
        run = load(path)

        def wrong(inputs):
            alone = inputs["a.present"] & ~inputs["b.present"] & ~inputs["c.present"]
            return np.where(alone[:, None], 1 / 3, run(inputs)).astype(np.float32)

        return wrong

    monkeypatch.setitem(FORMATS, "onnx", replace(FORMATS["onnx"], load=spoil))
    assert verify(tmp_path / "w.onnx", predictor, data)["difference"] > 0.05


def test_other_data_are_refused(predictor: cp.Predictor, alone: Path) -> None:
    def check(data: cp.Dataset, line: str) -> None:
        with pytest.raises(InputError, match=line):
            verify(alone, predictor, data)

    gone = toy_data(2, samples=60)
    gone.splits["validation"].present["a"][:] = False
    other = toy_data(2, names=("x", "y"))
    check_each(
        [
            (other, "must have the modality 'a' of the exported file; found x, y"),
            (toy_data(2, sequences=True), r"must hold samples .*\(4,\).* of 'a'"),
            (toy_data(2, classes=4), "must have the classes of the model, 0, 1, 2, found"),
            (gone, "no row of the split has a"),
        ],
        check,
    )
    with pytest.raises(InputError, match="unknown value for split 'dev'"):
        verify(alone, predictor, other, split="dev")


def test_a_description_that_does_not_fit_is_refused(
    predictor: cp.Predictor, data: cp.Dataset, alone: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.pt2"
    path.write_bytes(alone.read_bytes())
    facts = json.loads(facts_file(alone).read_text())
    facts_file(path).write_text(json.dumps({**facts, "sha256": "0"}))
    with pytest.raises(InputError, match=r"damaged, or not what a.pt2.json describes"):
        verify(path, predictor, data)


def test_metrics_are_those_of_the_probabilities() -> None:
    chances = torch.tensor([[0.2, 0.8], [1.0, 0.0], [0.6, 0.4]])
    target = torch.tensor([1, 0, 1])
    assert measure(Classification(2), chances, target) == pytest.approx(2 / 3)
    likely = Classification(2).with_metric("nll")
    wanted = -(np.log(0.8) + np.log(1.0) + np.log(0.4)) / 3
    assert measure(likely, chances, target) == pytest.approx(wanted, rel=1e-5)
    labels = MultiLabel(2).with_metric("label-accuracy")
    truth = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    assert measure(labels, chances, truth) == pytest.approx(4 / 6)


def test_distances() -> None:
    nan, one = torch.tensor([[float("nan")]]), torch.tensor([[1.0]])
    assert distance(one, one + 0.5) == pytest.approx(0.5 / 1.5)
    assert distance(one * 0.1, one * 0.3) == pytest.approx(0.2)
    assert distance(nan, nan) == 0 and distance(nan, one) == distance(one, nan) == float("inf")
    assert distance(one, torch.ones(1, 2)) == float("inf")


def test_contestants_take_turns() -> None:
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    seconds = race(calls, 4)
    assert order[6:] == list("abbaabba") and all(len(s) == 4 for s in seconds.values())


def test_data_of_other_classes_are_refused(tmp_path: Path) -> None:
    predictor, data = make(), toy_data(3)
    export(predictor, tmp_path / "m.onnx", modalities=["a"])
    strange = Dataset(Classification(3, ("x", "y", "z")), dict(data.splits))
    with pytest.raises(InputError, match="classes of the model, 0, 1, 2, found x, y, z"):
        verify(tmp_path / "m.onnx", predictor, strange)
    known = Dataset(Classification(3, ("2", "0", "1")), dict(data.splits))
    assert verify(tmp_path / "m.onnx", predictor, known)["difference"] < 1e-4
