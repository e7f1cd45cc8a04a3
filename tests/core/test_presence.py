"""One rule for a modality that no training sample has, at every door."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import counterpoise as cp
from counterpoise.core.presence import check_trained
from counterpoise.data import Dataset, Row, Split, Table, make_plan, prepare
from counterpoise.data.readers import Numbers
from counterpoise.errors import InputError

N = 60
SAID = (
    "modality 'b' is missing in every training sample, so nothing can be learnt from it; leave it "
    "out of the data, or train on samples that have it"
)
SPLIT = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
GONE = np.arange(N) >= 40  # has modality b: all but the training rows


def inputs() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {m: generator.normal(size=(N, 4)).astype(np.float32) for m in ("a", "b")}


def data() -> Dataset:
    """A data set of somebody's own, which nothing has checked."""
    rows = {"train": slice(0, 40), "validation": slice(40, 50), "test": slice(50, 60)}
    masks = {"a": torch.ones(N, dtype=torch.bool), "b": torch.from_numpy(GONE)}
    splits = {
        part: Split(
            {m: torch.from_numpy(x[s]) for m, x in inputs().items()},
            {m: mask[s] for m, mask in masks.items()},
            torch.arange(N)[s] % 2,
        )
        for part, s in rows.items()
    }
    return Dataset(cp.Classification(2), splits)


def refused() -> pytest.RaisesExc[InputError]:
    return pytest.raises(InputError, match=f"^{SAID.replace('(', '[(]').replace(')', '[)]')}$")


def test_arrays() -> None:
    with refused():
        cp.ArrayData(inputs(), np.arange(N) % 2, present={"b": GONE}, split=SPLIT)


def test_a_model_is_not_built() -> None:
    with refused():
        cp.build_model(data())


def test_fit(tmp_path: Path) -> None:
    whole = cp.ArrayData(inputs(), np.arange(N) % 2, split=SPLIT)
    with refused():
        cp.fit(cp.build_model(whole), data(), epochs=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()  # nothing was begun


def test_an_estimator() -> None:
    held = {m: x[40:] for m, x in inputs().items()}
    given = {"a": inputs()["a"][:40], "b": np.full((40, 4), np.nan)}
    with refused():
        cp.MultimodalClassifier(epochs=1).fit(
            given, np.arange(40) % 2, validation=(held, np.arange(20) % 2)
        )


def test_a_table(tmp_path: Path) -> None:
    rows = [
        Row(str(k), "xy"[k % 2], {"a": k, "b": k if GONE[k] else None}, SPLIT[k]) for k in range(N)
    ]
    table = Table("t", rows, {"a": Numbers(), "b": Numbers()})
    with refused():
        make_plan(table)
    plan = make_plan(replace(table, rows=[replace(r, cells={"a": r.id, "b": 2}) for r in rows]))
    broken = [
        replace(r, cells={"a": r.id, "b": "?" if r.split == "train" else 2}) for r in plan.rows
    ]
    broken[0] = replace(plan.rows[0], cells={"a": 1})  # the only training row that is not bad
    with refused():
        prepare(replace(plan, rows=broken), tmp_path / "out", max_bad=1)


def test_samples_of_another_class_pass() -> None:
    check_trained(object())
    check_trained(data().test)
    with pytest.raises(InputError, match="'a' and 'b' is missing"):
        check_trained({m: torch.zeros(3, dtype=torch.bool) for m in "ab"})
