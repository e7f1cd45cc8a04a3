"""The same sample in two splits is said, in one line with the counts."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import counterpoise as cp
from counterpoise.core import storage
from counterpoise.data import Row, Table, make_plan, prepare, read_manifest
from counterpoise.data.duplicates import find_keys, find_varied
from counterpoise.data.readers import ArrayFile, Numbers

N = 60
SPLIT = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
Y = np.arange(N) % 2
SAID = (
    "the same samples are in two splits (equal in all modalities): 2 of the 10 in validation are "
    "in train too; 3 of the 10 in test are in train too; 1 of the 10 in test is in validation "
    "too; scores on them are too good: leave the copies out, or keep them together by groups"
)


def copied() -> dict[str, np.ndarray]:
    """Rows 40 and 41 as 0, which train has; 50, 51, 52 as 5; 53 as 45."""
    generator = np.random.default_rng(0)
    values = {"a": generator.normal(size=(N, 3, 4)), "b": generator.integers(0, 99, (N, 2))}
    for x in values.values():
        x[40:42], x[50:53], x[53] = x[0], x[5], x[45]
    return values


def said(call: Any, *words: Any, **options: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*words, **options)
    return [str(w.message) for w in caught if "two splits" in str(w.message)]


def test_arrays() -> None:
    values = copied()
    assert said(cp.ArrayData, values, Y, split=SPLIT) == [SAID]
    values["b"][40:] += 1  # equal in one modality only
    assert said(cp.ArrayData, values, Y, split=SPLIT) == [
        SAID.replace(
            "2 of the 10 in validation are in train too; 3 of the 10 in test are in train too; ", ""
        )
    ]
    values["b"][53] += 1
    assert said(cp.ArrayData, values, Y, split=SPLIT) == []


def test_what_a_row_lacks_does_not_count() -> None:
    values = copied()
    values["a"][[0, 5, 45]], values["b"][[5]] = np.nan, 7
    with_b = [row not in (1, 2) for row in range(N)]
    values["b"][[1, 2]] = values["b"][[3]]
    found = said(cp.ArrayData, values, Y, split=SPLIT, present={"b": np.array(with_b)})
    assert found == []  # a copy that has one modality more is another sample
    values["a"][[40, 50]] = np.nan
    (found,) = said(cp.ArrayData, values, Y, split=SPLIT)
    assert ": 1 of the 10 in validation is in train too; scores" in found


def test_a_sample_in_all_splits_counts_once_each() -> None:
    values = np.random.default_rng(0).normal(size=(N, 3))
    values[45] = values[55] = values[0]
    (found,) = said(cp.ArrayData, {"a": values}, Y, split=SPLIT)
    assert found.count("too;") == 2 and "in test is in train too" in found


def test_copies_within_a_split_and_rows_that_never_vary() -> None:
    values = np.random.default_rng(0).normal(size=(N, 3))
    values[3] = values[4]
    assert said(cp.ArrayData, {"a": values}, Y, split=SPLIT) == []
    assert said(cp.ArrayData, {"a": np.ones((N, 3))}, Y, split=SPLIT) == []


def test_an_estimator() -> None:
    values = {m: x[:40] for m, x in copied().items()}
    held = {m: x[40:50] for m, x in copied().items()}
    one = cp.MultimodalClassifier(epochs=1, width=4, encoders={"b": "tokens"})
    (found,) = said(one.fit, values, Y[:40], validation=(held, Y[40:50]))
    assert ": 2 of the 10 in validation are in train too; scores" in found


def test_a_table(tmp_path: Path) -> None:
    values = copied()["a"].reshape(N, 12)
    rows = [Row(str(k), "xy"[k % 2], {"a": values[k].tolist()}, SPLIT[k]) for k in range(N)]
    plan = make_plan(Table("t", rows, {"a": Numbers()}))
    assert said(prepare, plan, tmp_path / "out") == [SAID]
    assert said(prepare, plan, tmp_path / "out") == [SAID]  # where no shard is made again
    for file in (tmp_path / "out").glob("*-*.json"):  # as an older version left it
        entry, _ = storage.read_record(file)
        del entry["keys"]
        storage.write_json(file, entry)
    assert said(prepare, plan, tmp_path / "out") == []


def test_files_of_one_modality(tmp_path: Path) -> None:
    lines = ["id,target,split,sensor,age"]
    values = copied()["a"]
    values[58] = values[44] = 0  # silence is no copy of silence
    for k in range(N):
        np.save(tmp_path / f"{k}.npy", values[k])
        lines.append(f"r{k},{'xy'[k % 2]},{SPLIT[k]},{k}.npy,{k}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    read = read_manifest(tmp_path / "table.csv", modalities=["sensor", "age"])
    plan = make_plan(read, options={"sensor": {"axis": 0}})
    assert isinstance(plan.readers["sensor"], ArrayFile)
    assert said(prepare, plan, tmp_path / "out") == [
        SAID.replace("samples are", "'sensor' is").replace(
            "equal in all modalities", "equal as decoded"
        )
    ]
    once = [replace(r, cells={**r.cells, "age": 1}) for r in plan.rows]
    assert len(said(prepare, replace(plan, rows=once), tmp_path / "other")) == 2


def test_digests() -> None:
    values = {"a": {"": np.array([[1.0], [2.0]])}, "b": {"": np.array([[2.0], [1.0]])}}
    a, b = np.array([True, False]), np.array([False, True])
    one, other = find_keys(values, {"a": a, "b": b})
    assert one != other  # the same number in another modality
    nothing = {"a": {"": np.zeros((2, 1))}, "b": {"": np.array([[5.0], [5.0]])}}
    one, other = find_keys(nothing, {"a": a, "b": ~b | b})
    assert one != other  # 0, and no value at all
    assert find_varied(np.array([[0, 0], [0, 1], [3, 3]])).tolist() == [False, True, False]
