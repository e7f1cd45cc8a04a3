"""One rule for a modality that no training sample has, at every door."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import counterpoise as cp
from counterpoise.core.presence import (
    check_trained,
    dense,
    every,
    is_dense,
    is_nothing,
    known,
    refuse_dense,
    some,
)
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


# Masks, asked with and without a look at their values.


def test_dense_takes_nothing_for_granted_but_what_is_known() -> None:
    mask, index = torch.tensor([True, True, True]), torch.arange(3)
    nobody, everybody = known(index, False), known(mask, True)
    assert some(mask) and every(mask) and not some(~mask) and not every(~mask)
    assert everybody.dtype == torch.bool and everybody.tolist() == [True] * 3
    with dense():
        with dense():
            assert some(mask) and some(~mask) and not every(mask) and not every(~mask)
        assert is_dense()  # still
        assert not some(nobody) and every(everybody) and some(everybody) and not every(nobody)
        assert some(nobody.clone()) and not every(everybody & mask)
    assert not is_dense() and some(mask) and not some(~mask)
    nobody[0] = True  # ordinarily values count, whatever was known of them
    assert some(nobody)


def test_dense_is_of_one_thread_and_ends_with_an_error() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError), dense():
        assert not pool.submit(is_dense).result()
        1 / 0  # noqa: B018
    assert not is_dense()
    refuse_dense("nothing")
    with dense(), pytest.raises(InputError, match="it cannot"):
        refuse_dense("it cannot")


def test_batches_know_what_they_leave_out() -> None:
    index, masks = torch.arange(2), {m: known(torch.arange(2), True) for m in ("a", "b")}
    batch = cp.Batch({}, masks, torch.zeros(2), index)
    with dense():
        only, among = batch.only("b").present, batch.among(("c", "a")).present
        assert only["b"] is masks["b"] and not some(only["a"])
        assert among["a"] is masks["a"] and not some(among["c"]) and list(among) == ["c", "a"]


def test_a_mask_that_was_changed_is_read_again():
    nobody = known(torch.ones(3, dtype=torch.bool), False)
    assert is_nothing(nobody) and not some(nobody)
    assert not is_nothing(torch.zeros(3, dtype=torch.bool))
    nobody[1] = True
    assert not is_nothing(nobody) and some(nobody)
    with torch.inference_mode():
        assert not some(known(torch.ones(3, dtype=torch.bool), False))
