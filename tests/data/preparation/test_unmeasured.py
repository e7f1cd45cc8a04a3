"""Values not measured, offsets and indicators in prepared data, as decoded on the fly."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise import InputError, build_model, evaluate, fit
from counterpoise.data import Dataset, make_plan, open_cache, prepare, read_manifest
from counterpoise.data.preparation.moments import to_scale
from counterpoise.data.readers import ArrayFile, Numbers, build_reader

ROWS = 60


def table(folder: Path, cells: Any, **more: Any) -> Path:
    """A manifest of a column x, whose cells ``cells(k)`` gives, and of one that is whole."""
    folder.mkdir(exist_ok=True)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "target", "split", "x", "y"])
        for k in range(ROWS):
            split = "train" if k < 40 else "validation" if k < 50 else "test"
            writer.writerow([k, "ab"[k % 2], split, cells(k), k / 7])
    return folder / "table.csv"


def samples(data: Dataset, name: str = "x") -> np.ndarray:
    parts = [split[torch.arange(len(split))].inputs[name] for split in data.splits.values()]
    return torch.cat(parts).numpy()  # type: ignore[arg-type]


VALUES = np.random.default_rng(0).normal(size=(ROWS, 3)).round(3) + np.array([0, 5, -5])
HOLED = np.where(np.random.default_rng(1).random((ROWS, 3)) < 0.3, np.nan, VALUES)
HOLED[:, 0] = VALUES[:, 0]
MEAN = np.nanmean(HOLED[:40], 0)


def in_words(k: int) -> str:
    words = ["" if np.isnan(v) else str(v) for v in HOLED[k]]
    if k % 3 == 1:
        return ";".join(word or "NA" for word in words)
    return json.dumps([float(w) if w else None for w in words]) if k % 3 else ",".join(words)


@pytest.mark.parametrize("jobs", [1, 2])
def test_numbers_not_measured_become_the_training_mean(tmp_path, jobs, monkeypatch) -> None:
    monkeypatch.setattr("counterpoise.data.preparation.cache.SHARD_ROWS", 7)
    plan = make_plan(read_manifest(table(tmp_path / "raw", in_words)))
    assert isinstance(plan.readers["x"], Numbers)
    partly = np.isnan(HOLED).any(1)
    share = 100 * np.isnan(HOLED).sum() / (3 * partly.sum())
    line = (
        f"x: {share:.1f} % of the values of {partly.sum()} samples were not measured; filled with "
        "the training mean of their channel; --set x.indicators=true adds what was measured"
    )
    with pytest.warns(UserWarning) as said:
        data = prepare(plan, tmp_path / "out", jobs=jobs)
    assert [str(w.message) for w in said] == [line]
    wanted = np.where(np.isnan(HOLED), MEAN, HOLED)
    np.testing.assert_allclose(samples(data), wanted, rtol=1e-6)
    np.testing.assert_allclose(data.scales["x"][0], MEAN, rtol=1e-6)
    np.testing.assert_allclose(data.scales["x"][1], np.nanstd(HOLED[:40], 0), rtol=1e-5)
    live = plan.live()
    with pytest.warns(UserWarning, match="over the first 40 training samples"):
        assert (samples(live) == samples(data)).all()
    again = open_cache(tmp_path / "out")
    assert line in again.notes and again.fingerprint() == data.fingerprint()
    about = json.loads((tmp_path / "out" / "dataset.json").read_text())["modalities"]
    assert "gaps" not in about["y"] and again.train.inputs["y"].fill is None
    part = data.train.inputs["x"].part(torch.tensor([3, 5])).rows(torch.tensor([1, 0]))
    assert (part.numpy() == samples(data)[[5, 3]]).all()


def test_cells_of_nothing_are_missing(tmp_path: Path) -> None:
    def cell(k: int) -> str:
        return "NA,,null" if k in (0, 45) else f"{k},{k},1"

    plan = make_plan(read_manifest(table(tmp_path / "raw", cell)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data, live = prepare(plan, tmp_path / "out"), plan.live()
    for found in (data, live):
        assert found.train.present["x"].tolist() == [k != 0 for k in range(40)]
        assert found.validation.present["x"].tolist() == [k != 5 for k in range(10)]
        assert not samples(found)[[0, 45]].any()


def test_a_channel_that_training_never_measured_is_named(tmp_path: Path) -> None:
    plan = make_plan(read_manifest(table(tmp_path / "raw", lambda k: f"{k},{'' if k < 45 else 1}")))
    with pytest.warns(UserWarning, match=r"\(0 in channel 1: never measured in training\)"):
        data = prepare(plan, tmp_path / "out")
    assert not samples(data)[:45, 1].any() and (samples(data)[45:, 1] == 1).all()


def test_indicators_of_prepared_numbers(tmp_path: Path) -> None:
    options = {"x": {"indicators": True}}
    plan = make_plan(read_manifest(table(tmp_path / "raw", in_words)), options=options)
    with pytest.warns(UserWarning, match="training mean of their channel$"):
        data = prepare(plan, tmp_path / "out")
    assert data.shapes["x"] == (6,)
    assert (samples(data)[:, 3:] == ~np.isnan(HOLED)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the first column was always measured: no fault
        model = build_model(data, width=8)
    fit(model, data, epochs=1)
    assert evaluate(model, data).metrics


def save(folder: Path, arrays: list[np.ndarray]) -> Any:
    folder.mkdir(exist_ok=True)
    for k, array in enumerate(arrays):
        np.save(folder / f"{k}.npy", array)
    return lambda k: f"{k}.npy"


def series(seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(3 + k % 5, 2)) + np.array([k % 2, 5]) for k in range(ROWS)]


@pytest.mark.filterwarnings("ignore:x. .*(were|are)")
@pytest.mark.parametrize("indicators", [False, True])
def test_series_in_files_are_filled_and_padding_stays_zero(tmp_path, indicators) -> None:
    arrays = series()
    for k in range(0, ROWS, 3):
        arrays[k][1, 0] = np.nan
    arrays[7][:] = np.nan
    path = table(tmp_path / "raw", save(tmp_path / "raw", arrays))
    read = read_manifest(path, modalities=["x", "y"])
    plan = make_plan(read, options={"x": {"indicators": indicators}})
    data = prepare(plan, tmp_path / "out")
    found = samples(data)
    assert not data.train.present["x"][7] and data.train.present["x"].sum() == 39
    mean = np.nanmean(np.concatenate(arrays[:40]), 0)
    for k, array in enumerate(arrays):
        filled = np.where(np.isnan(array), mean, array).T if k != 7 else 0
        steps = len(array)
        np.testing.assert_allclose(found[k, :2, :steps], filled, rtol=1e-5)
        assert not found[k, :, steps:].any()
        if indicators and k != 7:
            assert (found[k, 2:, :steps] == ~np.isnan(array).T).all()
    with pytest.raises(InputError, match="row '7': holds no value that was measured; prepare"):
        plan.live().train[torch.tensor([7])]
    rows = torch.arange(8, 20)
    assert plan.live().train[rows].inputs["x"].equal(data.train[rows].inputs["x"])  # type: ignore


def test_a_file_of_nothing_alone_is_a_bad_row_until_it_is_mended(tmp_path: Path) -> None:
    arrays = series()
    arrays[4][:] = np.nan
    path = table(tmp_path / "raw", save(tmp_path / "raw", arrays))
    plan = make_plan(read_manifest(path, modalities=["x"]))
    data = prepare(plan, tmp_path / "out")
    assert len(data.train) == 39
    assert "4,,has none of the modalities" in (tmp_path / "out" / "bad.csv").read_text()
    assert len(prepare(plan, tmp_path / "out").train) == 39
    np.save(tmp_path / "raw" / "4.npy", series()[4])
    assert len(prepare(plan, tmp_path / "out").train) == 40


@pytest.mark.parametrize("kind", ["numbers", "files", "table"])
def test_offsets_are_taken_off_in_float64(tmp_path: Path, kind: str) -> None:
    arrays = [array + np.array([1.7e9, 0]) for array in series()]
    if kind == "numbers":
        path = table(tmp_path / "raw", lambda k: " ".join(map(repr, arrays[k][0].tolist())))
        arrays = [array[:1] for array in arrays]
    elif kind == "files":
        path = table(tmp_path / "raw", save(tmp_path / "raw", arrays))
    else:
        (tmp_path / "raw").mkdir()
        for k, array in enumerate(arrays):
            np.savetxt(tmp_path / "raw" / f"{k}.csv", array, delimiter=",", fmt="%.9f")
        path = table(tmp_path / "raw", lambda k: f"{k}.csv")
    with pytest.warns(UserWarning, match="x: float32 cannot hold how its values vary; standardis"):
        plan = make_plan(read_manifest(path, modalities=["x", "y"]))
    data = prepare(plan, tmp_path / "out")
    known = np.concatenate(arrays[:40])
    found, live = samples(data), samples(plan.live())
    assert (found == live).all()
    for k, array in enumerate(arrays):
        wanted = ((array - known.mean(0)) / known.std(0)).T
        sample = found[k].reshape(2, -1)
        np.testing.assert_allclose(sample[:, : len(array)], wanted, atol=1e-5)
        assert not sample[:, len(array) :].any()
    reader = plan.readers["x"]
    assert build_reader(json.loads(json.dumps(reader.settings()))) == reader
    assert open_cache(tmp_path / "out").readers["x"] == reader
    assert prepare(plan, tmp_path / "out").fingerprint() == data.fingerprint()


def test_settings_of_ordinary_readers_are_what_they_were() -> None:
    assert Numbers(count=3).settings() == {"type": "numbers", "count": 3}
    fitted = ArrayFile().fit([np.ones(3)])
    assert set(fitted.settings()) == {"type", "key", "length", "axis", "channels_first"}
    assert ArrayFile(indicators=True).settings()["indicators"] is True


def test_words_of_nothing_do_not_make_numbers_of_a_text(tmp_path: Path) -> None:
    def find(name: str, cell: Any) -> str:
        return read_manifest(table(tmp_path / name, cell), ignore=["y"]).readers["x"].name

    assert find("a", lambda k: "none" if k % 3 else "some words") == "text"
    assert find("b", lambda k: "NA" if k % 3 else "1.5 2") == "numbers"


def test_a_constant_is_not_divided_by_a_rounding_error(tmp_path: Path) -> None:
    plan = make_plan(read_manifest(table(tmp_path / "raw", lambda k: f"0.1,{k}")))
    data = prepare(plan, tmp_path / "out")
    assert data.scales["x"][1][0] == 0
    # What sums of squares leave of a million equal values.
    scale = {"mean": [0.1, 0.1], "std": [1e-9, 1e-7]}
    found = to_scale(scale, {"": ("float32", (2,))}, None)[1]
    assert found[0] == 0 and found[1] > 0
    with pytest.warns(UserWarning, match="^x: 1 of 2 channels does not vary in the training rows$"):
        build_model(data, width=8)
