"""A file of arrays as a data set, and prepared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import counterpoise as cp
from counterpoise.data import Dataset, make_plan, prepare
from counterpoise.data.npz import load_npz, npz_table
from counterpoise.errors import InputError

N = 60
SPLIT = np.array(["train"] * 40 + ["validation"] * 10 + ["test"] * 10)


def arrays(**changes: Any) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    given = {
        "pose": generator.normal(size=(N, 5, 16)),  # 5 channels; no picture
        "sound": generator.normal(size=(N, 3)).astype(np.float16),
        "ids": generator.integers(0, 9, (N, 4)),
        "pixels": generator.integers(0, 256, (N, 8, 8), dtype=np.uint8),
        "one": generator.normal(size=N),
        "target": np.arange(N) % 3,
    }
    given["sound"][::4] = np.nan
    return {k: v for k, v in {**given, **changes}.items() if v is not None}


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "own.npz"
    np.savez(path, **arrays(**changes))
    return path


def check_same(one: Dataset, other: Dataset) -> None:
    """The same samples in the same splits, row by row."""
    assert one.modalities == other.modalities
    assert one.task.outputs == other.task.outputs and type(one.task) is type(other.task)
    assert list(one.splits) == list(other.splits)
    for part, split in one.splits.items():
        beside = other.splits[part]
        rows = torch.arange(len(split))
        assert len(beside) == len(split)
        a, b = split[rows], beside[rows]
        assert torch.equal(a.target, b.target) and a.target.dtype == b.target.dtype
        for m in one.modalities:
            assert torch.equal(a.present[m], b.present[m])
            torch.testing.assert_close(a.inputs[m], b.inputs[m], rtol=0, atol=0, equal_nan=True)
        assert (a.weight is None) == (b.weight is None)
        if a.weight is not None:
            torch.testing.assert_close(a.weight, b.weight)


def test_the_arrays_are_the_modalities(tmp_path: Path) -> None:
    data = cp.load(write(tmp_path))
    assert data.name == "own"
    assert data.shapes == {
        "pose": (5, 16),
        "sound": (3,),
        "ids": (4,),
        "pixels": (8, 8),
        "one": (1,),
    }
    assert isinstance(data.task, cp.Classification) and data.task.outputs == 3
    assert (len(data.train), len(data.validation), len(data.test)) == (42, 9, 9)
    given = arrays()
    for part, rows in data.rows.items():
        assert data.splits[part].target.tolist() == given["target"][rows].tolist()
        assert torch.equal(
            data.splits[part].inputs["pose"], torch.tensor(given["pose"][rows]).float()
        )
        assert data.splits[part].present["sound"].tolist() == (rows % 4 > 0).tolist()


def test_some_of_the_modalities(tmp_path: Path) -> None:
    data = cp.load(write(tmp_path), modalities=["one", "sound"])
    assert data.modalities == ("sound", "one")


def test_reserved_names(tmp_path: Path) -> None:
    weight = np.arange(N) % 4 + 1.0
    group = np.arange(N) // 10
    data = load_npz(
        write(
            tmp_path,
            split=np.where(SPLIT == "validation", "val", SPLIT),
            group=group,
            weight=weight,
            id=np.arange(N) + 100,
            classes=np.array(["x", "y", "z"]),
        )
    )
    assert data.modalities == ("pose", "sound", "ids", "pixels", "one")
    assert data.task.names == ("x", "y", "z")
    assert data.rows["test"].tolist() == list(range(50, 60))
    assert data.train.groups.tolist() == group[:40].tolist()
    assert torch.equal(data.train.weight, torch.tensor(weight / weight[:40].mean()).float()[:40])


def test_validation_is_drawn_from_the_training_rows(tmp_path: Path) -> None:
    split = np.where(SPLIT == "validation", "train", SPLIT)
    data = load_npz(write(tmp_path, split=split))
    assert data.rows["test"].tolist() == list(range(50, 60))
    assert np.bincount(data.validation.target).tolist() == [3, 3, 3]  # 15 / 85 of 50
    group = np.r_[np.repeat(np.arange(10), 5), np.full(10, 10)]
    data = load_npz(write(tmp_path, split=split, group=group))
    held = set(group[data.rows["validation"]].tolist())
    assert held and not held & set(group[data.rows["train"]].tolist())


def test_words_for_classes_and_rows_of_labels(tmp_path: Path) -> None:
    words = np.array(["sit", "stand", "walk"])[np.arange(N) % 3]
    data = load_npz(write(tmp_path, target=words))
    assert data.task.names == ("sit", "stand", "walk")
    data = load_npz(write(tmp_path, target=words, classes=np.array(["walk", "stand", "sit"])))
    assert data.task.names == ("walk", "stand", "sit")
    assert data.train.target[:3].tolist() == [2 - int(k) % 3 for k in data.rows["train"][:3]]
    labels = np.arange(N)[:, None] // [1, 2, 4] % 2
    data = load_npz(write(tmp_path, target=labels.astype(np.float64), classes=np.array([*"abc"])))
    assert isinstance(data.task, cp.MultiLabel) and data.task.names == ("a", "b", "c")


def test_the_task_in_a_word(tmp_path: Path) -> None:
    data = cp.load(write(tmp_path), task="regression")
    assert isinstance(data.task, cp.Regression) and data.train.target.is_floating_point()
    years = write(tmp_path, target=1990 + np.arange(N) % 3)
    data = cp.load(years, task="classification")
    assert data.task.names == ("1990", "1991", "1992")
    labels = write(tmp_path, target=np.arange(N)[:, None] // [1, 2] % 2)
    assert isinstance(cp.load(labels, task="multilabel").task, cp.MultiLabel)
    with pytest.raises(InputError, match="unknown value for task 'regressions'"):
        cp.load(years, task="regressions")
    with pytest.raises(
        InputError, match=r"task is for files of arrays \(.npz\); digits has its own"
    ):
        cp.load("digits", task="regression")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"target": None, "targets": np.arange(N) % 3},
            "unknown target array in own.npz 'target'; did you mean 'targets'? known: pose, sound, "
            "ids, pixels, one, targets",
        ),
        (
            {"one": np.ones(N - 1), "group": np.ones(7)},
            "the arrays in own.npz must hold as many rows each, found 60 in pose, sound, ids, "
            "pixels, target; 59 in one; 7 in group",
        ),
        (
            {"pose": np.array([None] * N)},
            "own.npz holds Python objects, which are not read since they can run programs",
        ),
        ({"one": np.float32(3)}, "one in own.npz must hold at least one row, found none"),
        ({"pose": np.array(["a"] * N)}, "own.npz: inputs['pose'] must hold numbers, found <U1"),
        (
            {"split": np.full(N, "train")},
            "own.npz: split must leave no part empty, found no sample",
        ),
        ({"split": np.full(N, "test")}, "own.npz: split must leave no part empty, found no sample"),
        ({"split": np.full(N, "trian")}, "own.npz: unknown split 'trian'; did you mean 'train'?"),
        ({"group": np.ones((N, 2))}, "group in own.npz must hold one value per sample ([60])"),
        ({"id": np.arange(N) // 2}, "id in own.npz must differ from row to row, found 0 twice"),
        ({"weight": -np.ones(N)}, "own.npz: weights must be finite and at least 0, found -1.0"),
        ({"classes": np.array(["a", "a"])}, "classes in own.npz must hold the names of at least 2"),
        (
            {"classes": np.array(["a", "b"])},
            "own.npz: target must lie in 0..1 (2 classes), found 2",
        ),
        (
            {"classes": np.array(["x", "y"]), "target": np.array(["x", "Y"] * 30)},
            "unknown class in the target of own.npz 'Y'; known: x, y",
        ),
        ({"a+b": np.ones(N)}, "inputs must name modalities by a text without any of + , :"),
    ],
)
def test_errors(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        cp.load(write(tmp_path, **changes))
    assert said in str(raised.value) and "\n" not in str(raised.value)


def test_a_regression_has_no_classes(tmp_path: Path) -> None:
    path = write(tmp_path, classes=np.array([*"abc"]))
    with pytest.raises(InputError, match="names classes, which a regression has not"):
        cp.load(path, task="regression")


def test_nothing_but_a_target(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", target=np.arange(N) % 2)
    with pytest.raises(
        InputError, match=r"own.npz must hold an array for each modality, found none"
    ):
        cp.load(tmp_path / "own.npz")


def test_files_that_are_none(tmp_path: Path) -> None:
    whole = write(tmp_path).read_bytes()
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "bits": whole[:5000] + bytes(500) + whole[5500:],
        "text": b"target",
        "void": b"",
        "pickle": b"\x80\x04\x95",
    }.items():
        path = tmp_path / f"{name}.npz"
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.npz (is no NumPy file|holds Python obj)"):
            cp.load(path)
    np.save(tmp_path / "array", np.ones(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(InputError, match=r"array.npz is no NumPy file, or damaged"):
        cp.load(tmp_path / "array.npz")
    with pytest.raises(InputError, match=r"gone.npz is not there"):
        cp.load(tmp_path / "gone.npz")


# Prepared


CHANGES: dict[str, Callable[[], dict[str, Any]]] = {
    "plain": dict,
    "official split": lambda: {"split": np.where(SPLIT == "validation", "train", SPLIT)},
    "groups": lambda: {"group": np.arange(N) // 5},
    "weights and names": lambda: {
        "weight": np.arange(N) % 7 + 0.1,
        "classes": np.array(["ten", "9", "a;b"]),
        "id": np.array([f"id {k}" for k in range(N)]),
    },
    "a class that is rare": lambda: {"target": np.r_[[3], np.arange(N - 1) % 3]},
    "labels, of some rows none": lambda: {"target": np.arange(N)[:, None] // [1, 2, 4] % 2},
    "numbers": lambda: {"target": np.linspace(-1, 1, N)},
    "rows of numbers": lambda: {"target": np.linspace(-1, 1, 2 * N).reshape(N, 2)},
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_is_prepared_is_what_training_reads(tmp_path: Path, case: str) -> None:
    path = write(tmp_path, **CHANGES[case]())
    plan = make_plan(npz_table(path))
    data = prepare(plan, tmp_path / "out")
    check_same(data, cp.load(path))
    check_same(plan.live(), cp.load(path))
    assert data.name == "own" and not plan.bad


def test_fractions_seed_and_names_of_arrays(tmp_path: Path) -> None:
    path = write(tmp_path, label=np.arange(N) % 2, w=np.arange(N) + 1.0)
    named = {"target": "label", "weight": "w"}
    table = npz_table(path, fractions=(0.5, 0.25, 0.25), seed=3, **named)
    plan = make_plan(table)
    assert list(plan.readers) == ["pose", "sound", "ids", "pixels", "one", "target"]
    same = load_npz(path, fractions=(0.5, 0.25, 0.25), seed=3, **named)
    check_same(prepare(plan, tmp_path / "out"), same)
    assert (len(same.train), len(same.test)) == (30, 15)
    with pytest.raises(InputError, match=r"unknown weight array in own.npz 'v'"):
        npz_table(path, weight="v")


def test_a_prepared_model_predicts_as_one_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    here, there = cp.load(path), prepare(make_plan(npz_table(path)), tmp_path / "out")
    found = []
    for data in (here, there):
        model = cp.build_model(data.select("pose", "pixels", "one"), width=8)
        found.append(cp.evaluate(model, data.select("pose", "pixels", "one")).logits)
    for subset, logits in found[0].items():
        torch.testing.assert_close(logits, found[1][subset], rtol=1e-4, atol=1e-5)


def test_other_values_are_another_preparation(tmp_path: Path) -> None:
    prepare(make_plan(npz_table(write(tmp_path))), tmp_path / "out")
    prepare(make_plan(npz_table(write(tmp_path))), tmp_path / "out")
    changed = arrays()["pose"]
    changed[7, 3, 3] += 1e-3
    plan = make_plan(npz_table(write(tmp_path, pose=changed)))
    with pytest.raises(InputError, match="holds samples of other rows"):
        prepare(plan, tmp_path / "out")
