"""What a pack keeps of the data: exact in JSON, without the data, without paths."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data.tables import Pixels, Saved, toy_table
from folded import check_each
from toy import toy_data

from counterpoise import ArrayData, InputError
from counterpoise.data import make_plan, prepare, read_manifest
from counterpoise.data.readers import READERS, Text
from counterpoise.deploy.inputs.preprocessing import Preprocessing
from counterpoise.deploy.inputs.samples import read_samples


def reopen(way: Preprocessing) -> Preprocessing:
    """By way of JSON and files, as on another machine."""
    return Preprocessing.from_state(json.loads(json.dumps(way.state())), way.files())


def numbers_table(folder: Path, cells: list[str]) -> Path:
    lines = ["note,speed,target"]
    lines += [f"this is note {k},{cell},c{k % 2}" for k, cell in enumerate(cells)]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    return folder / "t.csv"


def test_forms_are_kept_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    waves = [rng.normal(size=(int(n), 2)) for n in rng.integers(3, 9, 40)]
    odd = rng.normal(size=(40, 3)) / 3
    odd[0, 0] = np.nan
    inputs = {
        "vector": odd,
        "time": 1.6e9 + rng.random((40, 2)),
        "wave": waves,
        "ids": rng.integers(0, 9, (40, 5)),
        "picture": rng.random((40, 8, 8)).astype("f4"),
    }
    with pytest.warns(UserWarning):
        data = ArrayData(inputs, np.arange(40) % 2, indicators=["vector", "picture"])

    def check(name: str) -> None:
        way, rows = Preprocessing.of(data, name), inputs[name]
        again, form = reopen(way), data.forms[name]
        assert again.form is not None and way.form is not None and again.spec == way.spec
        for key in ("mean", "std"):
            left, right = getattr(way.form, key), getattr(again.form, key)
            assert (left is None) == (right is None)
            assert left is None or (left.dtype == right.dtype and np.array_equal(left, right))
        assert replace(again.form, mean=None, std=None) == replace(way.form, mean=None, std=None)
        found = read_samples({name: rows}, {name: again})
        for part, split in data.splits.items():
            kept = split.inputs[name]
            assert torch.equal(found.inputs[name][data.rows[part]], kept), part
        assert form.shape == again.form.shape

    check_each(inputs, check)


def test_a_mean_that_training_did_not_need_is_found() -> None:
    rows = np.random.default_rng(0).normal(3, 1, (40, 2)).astype("f4")
    for indicators in (False, True):
        data = ArrayData({"x": rows}, np.arange(40) % 2, indicators=indicators)
        assert data.forms["x"].mean is not None and data.forms["x"].mean.ndim == 0
        form = Preprocessing.of(data, "x").form
        assert form is not None
        assert np.allclose(form.mean, rows[data.rows["train"]].astype("f8").mean(0), rtol=1e-12)
        found = read_samples({"x": [[np.nan, 1.0]]}, {"x": Preprocessing.of(data, "x")})
        assert isinstance(found.inputs["x"], torch.Tensor)
        assert abs(float(found.inputs["x"][0, 0]) - 3) < 1 and found.filled == {"x": 1}


def test_readers_fill_with_the_training_mean(tmp_path: Path) -> None:
    """Prepared and live, with and without gaps in training."""
    rng = np.random.default_rng(0)
    values = rng.normal(5, 1, (30, 2))
    for gaps in (0, 3):
        folder = tmp_path / str(gaps)
        folder.mkdir()
        cells = [f"{a} NA" if k < gaps else f"{a} {b}" for k, (a, b) in enumerate(values.tolist())]
        plan = make_plan(read_manifest(numbers_table(folder, cells), modalities=["speed"]))
        if gaps:
            with pytest.warns(UserWarning, match="not measured"):
                data = prepare(plan, folder / "out")
        else:
            data = prepare(plan, folder / "out")
        for each in (data, plan.live()):  # which say nothing of what is not filled
            fill = Preprocessing.of(each, "speed").fill
            assert fill is not None and fill.dtype == np.float32
            assert np.allclose(fill, 5, atol=1)
            assert np.array_equal(reopen(Preprocessing.of(each, "speed")).fill, fill)


def test_a_tokenizer_lies_in_a_file_and_no_path_is_kept(tmp_path: Path) -> None:
    path = numbers_table(tmp_path, ["1 2"] * 30)
    made = make_plan(read_manifest(path, modalities=["note"]))
    reader = made.readers["note"]
    assert isinstance(reader, Text)
    (tmp_path / "tokenizer.json").write_text(reader.vocabulary_json)
    options = {"note": {"tokenizer": str(tmp_path / "tokenizer.json"), "length": 7}}
    data = make_plan(read_manifest(path, modalities=["note"]), options=options).live()
    way = Preprocessing.of(data, "note")
    assert way.extras() == {"text"} and len(way.files()) == 1
    assert str(tmp_path) not in json.dumps(way.state()) and len(json.dumps(way.state())) < 1000
    (tmp_path / "tokenizer.json").unlink()
    again = reopen(way)
    left, right = (read_samples({"note": ["this is note 3"]}, {"note": x}) for x in (way, again))
    assert torch.equal(left.inputs["note"]["input_ids"], right.inputs["note"]["input_ids"])
    with pytest.raises(InputError, match=r"tokenizer-\w{8}.json is not there"):
        Preprocessing.from_state(way.state(), {"other.json": b""})


def test_a_reader_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_plan(toy_table(tmp_path), modalities=["pose", "face"]).live()
    ways = {m: Preprocessing.of(data, m) for m in ("pose", "face")}
    with pytest.raises(InputError, match=r"reader 'saved' \(data.tables:Saved\), which is not ins"):
        reopen(ways["pose"])
    for name in ("saved", "pixels"):
        entry = EntryPoint(name, f"data.tables:{name.title()}", READERS.group)
        monkeypatch.setitem(READERS.added, name, entry)
    assert reopen(ways["pose"]).reader == Saved() and reopen(ways["face"]).reader == Pixels()
    assert ways["face"].fill is None and ways["pose"].extras() == set()


def test_damage_and_newer_versions_are_refused() -> None:
    state = Preprocessing.of(toy_data(), "a").state()
    broken: list[tuple[dict[str, Any], str]] = [
        ({}, "damaged"),
        ({**state, "spec": 3}, "damaged"),
        ({**state, "spec": {"": ["no type", [3]]}}, "damaged"),
        ({**state, "form": {**state["form"], "twist": 1}}, "'twist', which this version"),
        ({**state, "form": {**state["form"], "mean": {"shape": [2], "values": [1]}}}, "damaged"),
        ({**state, "form": {**state["form"], "mean": {"shape": [1], "values": [None]}}}, "finite"),
        ({**state, "reader": {"type": "numbers", "count": "x", "twist": 1}}, "count must be"),
    ]

    def check(content: dict[str, Any], words: str) -> None:
        with pytest.raises(InputError, match=words) as error:
            Preprocessing.from_state(content, {})
        assert "\n" not in str(error.value)

    check_each(broken, check)
    with pytest.raises(InputError, match="unknown modality 'z'"):
        Preprocessing.of(toy_data(), "z")


def test_samples_without_a_form_have_one() -> None:
    """Tensors of somebody's own data set: neither cells nor arrays are known to have been read."""
    data = toy_data()
    data.forms.clear()
    way = reopen(Preprocessing.of(data, "a"))
    assert way.form is None and way.fill is not None
    rows = data.train.inputs["a"]
    assert isinstance(rows, torch.Tensor)
    assert np.allclose(way.fill, rows.double().mean(0), atol=1e-6)
    found = read_samples({"a": [rows[0].tolist(), [1, None, 2, 3], "1 2 3"]}, {"a": way})
    assert found.problems == {2: "a: must hold numbers of shape [4], found [3]; has no modality"}
    assert isinstance(found.inputs["a"], torch.Tensor)
    assert found.inputs["a"][1, 1] == torch.from_numpy(way.fill)[1]
