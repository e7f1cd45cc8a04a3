"""Weights of samples, from every door of data to the batches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import counterpoise as cp
from counterpoise.data import make_plan, open_cache, prepare, read_manifest
from counterpoise.errors import InputError

N = 60
SPLIT = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
W = np.arange(N) % 5 + 0.5
SCALED = torch.from_numpy(W / W[:40].mean()).float()


def arrays(**changes: object) -> cp.ArrayData:
    given = {"target": np.arange(N) % 2, "split": SPLIT, "weights": W}
    return cp.ArrayData({"x": X}, **{**given, **changes})


def table(folder: Path, weights: object = W) -> Path:
    lines = ["id,x,target,split,w"]
    lines += [
        f"r{k},{X[k, 0]},{'ab'[k % 2]},{SPLIT[k]},{w}"
        for k, w in enumerate(weights)  # type: ignore[arg-type]
    ]
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def all_weights(data: cp.Dataset) -> torch.Tensor:
    return torch.cat([split.weight for split in data.splits.values()])


def test_their_mean_over_training_is_1_in_every_split() -> None:
    data = arrays()
    assert torch.equal(all_weights(data), SCALED)
    assert data.train.weight.mean().item() == pytest.approx(1)
    rows = torch.tensor([7, 3])
    assert torch.equal(data.test[rows].weight, SCALED[50:][rows])
    assert torch.equal(all_weights(arrays(weights=1e300 * W)), SCALED)
    assert arrays(weights=None).train.weight is None


def test_they_follow_their_rows_where_splits_are_drawn() -> None:
    data = arrays(split=None)
    expected = torch.from_numpy(W / W[data.rows["train"]].mean()).float()
    for part, split in data.splits.items():
        assert torch.equal(split.weight, expected[data.rows[part]])


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (W[:3], r"weights must hold a number for each sample \(\[60\]\), found shape \[3\]"),
        (np.r_[W[:-1], np.nan], "weights must be finite and at least 0, found nan in row 59"),
        (-W, "weights must be finite and at least 0, found -0.5 in row 0"),
        (["a"] * N, "weights must hold a number for each sample"),
        (0 * W, "weights must not be 0 for every sample"),
        (np.r_[np.zeros(40), np.ones(20)], "must not be 0 for every sample that is trained on"),
    ],
)
def test_errors(weights: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        arrays(weights=weights)


def test_of_a_table(tmp_path: Path) -> None:
    plan = make_plan(read_manifest(table(tmp_path), weight="w"))
    assert list(plan.readers) == ["x"]
    data = prepare(plan, tmp_path / "out")
    assert torch.equal(all_weights(data), SCALED)
    assert torch.equal(all_weights(plan.live()), SCALED)
    assert torch.equal(all_weights(open_cache(tmp_path / "out")), SCALED)
    index = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert index["format"] == 3 and index["weighted"]  # older versions refuse this format
    assert list(make_plan(read_manifest(table(tmp_path))).readers) == ["x", "w"]


def test_a_row_without_a_weight_is_left_out_and_the_mean_is_of_the_others(tmp_path: Path) -> None:
    given: list[object] = W.tolist()
    given[0], given[1], given[2] = "", "heavy", -1
    plan = make_plan(read_manifest(table(tmp_path, given), weight="w"))
    assert {b.id: b.reason for b in plan.bad} == {
        "r0": "has no weight",
        "r1": "weight must be a finite number, at least 0, found 'heavy'",
        "r2": "weight must be a finite number, at least 0, found '-1'",
    }
    weights = prepare(plan, tmp_path / "out").train.weight
    assert torch.equal(weights, torch.from_numpy(W[3:40] / W[3:40].mean()).float())
    with pytest.raises(InputError, match=r"unknown weight column of table.csv 'v'"):
        read_manifest(table(tmp_path), weight="v")
    with pytest.raises(InputError, match="the weights of table must not be 0 for every sample"):
        make_plan(read_manifest(table(tmp_path, 0 * W), weight="w"))


def test_other_weights_are_another_preparation(tmp_path: Path) -> None:
    plans = [make_plan(read_manifest(table(tmp_path, w), weight="w")) for w in (W, W[::-1])]
    assert plans[0].identity() != plans[1].identity()
    prepare(plans[0], tmp_path / "out")
    with pytest.raises(InputError, match="holds samples of other rows"):
        prepare(plans[1], tmp_path / "out")


def test_a_modality_may_be_called_as_a_column_of_the_files(tmp_path: Path) -> None:
    """Its values took the place of the targets, in silence."""
    lines = ["label,target,group,id"]
    lines += [f"{'ab'[k % 2]},{X[k, 0]},{X[k, 1]},{X[k, 2]}" for k in range(N)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    asked = ["target", "group", "id"]
    read = read_manifest(path, modalities=asked, target="label", group=None, id=None)
    plan = make_plan(read)
    data, live = prepare(plan, tmp_path / "out"), plan.live()
    for part, split in data.splits.items():
        every, same = torch.arange(len(split)), live.splits[part]
        assert torch.equal(split.target, same.target) and split.target.dtype == torch.int64
        for m in ("target", "group", "id"):
            assert torch.equal(split[every].inputs[m], same[every].inputs[m])
