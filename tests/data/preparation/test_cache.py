"""The cache: equal to decoding on the fly, resumable, checked, random access, shares of ranks."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tables import Saved, toy_table

from counterpoise import InputError, Loader, build_model, evaluate, fit, load
from counterpoise.cli.main import main
from counterpoise.core.batch import Batch
from counterpoise.core.loader import AHEAD
from counterpoise.data import Dataset, make_plan, open_cache, prepare
from counterpoise.data.columns import Column
from counterpoise.data.preparation import shards
from counterpoise.data.preparation.cache import is_cache
from counterpoise.encoders import MLP, Standardize


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("counterpoise.data.preparation.cache.SHARD_ROWS", 4)


def is_whole(folder: Path) -> bool:
    """Whether every shard is what its checksum says."""
    index = json.loads((folder / "dataset.json").read_text())
    return all(
        hashlib.sha256((folder / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]
        for part in index["splits"].values()
        for shard in part
    )


def same(one: Batch, other: Batch) -> None:
    assert one.target.equal(other.target) and one.index.equal(other.index)
    assert one.modalities == other.modalities
    for name in one.modalities:
        assert one.present[name].equal(other.present[name])
        left, right = one.inputs[name], other.inputs[name]
        if isinstance(left, torch.Tensor):
            assert isinstance(right, torch.Tensor) and left.dtype == right.dtype
            assert left.equal(right)
        else:
            assert isinstance(right, dict) and left.keys() == right.keys()
            assert all(left[k].equal(right[k]) and left[k].dtype == right[k].dtype for k in left)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("jobs", [1, 2])
def test_equal_to_decoding_on_the_fly(tmp_path: Path, jobs: int) -> None:
    plan = make_plan(toy_table(tmp_path / "raw"))
    cached, live = prepare(plan, tmp_path / "out", jobs=jobs), plan.live()
    assert len(list((tmp_path / "out").glob("*.arrow"))) > 6
    for part in ("train", "validation", "test"):
        split, other = cached.splits[part], live.splits[part]
        assert len(split) == len(other) and split.groups is not None and other.groups is not None
        assert split.groups.equal(other.groups)
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(1))
        for rows in (torch.arange(len(split)), order, order[:3].repeat(2), order[:0]):
            same(split[rows], other[rows])
    assert cached.task.names == ("class 0", "class 1", "class 2")  # type: ignore[attr-defined]
    assert cached.readers == {}  # types that only this test knows
    assert cached.kinds == {"pose": "sequence", "face": "image"}


@pytest.mark.usefixtures("small_shards")
def test_trains_evaluates_and_selects_as_arrays_do(tmp_path: Path) -> None:
    plan = make_plan(toy_table(tmp_path / "raw"), modalities=["pose", "face"])
    cached = prepare(plan, tmp_path / "out")
    whole = {part: split[torch.arange(len(split))] for part, split in cached.splits.items()}
    arrays = Dataset(
        cached.task,
        {
            part: type(cached.train)(batch.inputs, batch.present, batch.target)
            for part, batch in whole.items()
        },
        kinds=cached.kinds,
        scales=cached.scales,
    )
    found = []
    for data in (cached, arrays):
        model = build_model(data, "mla", width=8)
        run = fit(model, data, "mla", epochs=2, batch_size=8)
        found.append((run.history[-1]["loss"], evaluate(model, data, "mla").metrics))
    assert found[0] == found[1]
    only = cached.select("pose")
    kept = whole["train"].present["pose"].nonzero().squeeze(1)
    assert len(only.train) == len(kept) < len(cached.train)
    rows = torch.tensor([2, 0])
    pose = whole["train"].inputs["pose"]
    assert isinstance(pose, torch.Tensor)
    taken = only.train[rows].inputs["pose"]
    assert isinstance(taken, torch.Tensor) and taken.equal(pose[kept[rows]])
    column = only.train.inputs["pose"]
    assert isinstance(column, Column)
    end = len(kept) - 1
    again = column.part(torch.tensor([1, end])).rows(torch.tensor([1]))  # a part of a part
    assert isinstance(again, torch.Tensor) and again[0].equal(pose[kept[end]])
    assert only.fingerprint() != cached.fingerprint()
    assert open_cache(tmp_path / "out").fingerprint() == cached.fingerprint()


def test_statistics_are_those_of_the_training_samples(tmp_path: Path) -> None:
    table = replace(toy_table(tmp_path / "raw"), units={"pose": ("m", "m", "s")})
    cached = prepare(make_plan(table), tmp_path / "out")
    batch = cached.train[torch.arange(len(cached.train))]
    pose, face = (batch.inputs[m][batch.present[m]].double() for m in ("pose", "face"))  # type: ignore[index]
    mean, std = cached.scales["pose"]
    assert torch.allclose(mean.double(), pose.mean((0, 2))[:, None], atol=1e-6)
    variance = pose.var((0, 2), unbiased=False)
    pooled = torch.stack([variance[:2].mean(), variance[:2].mean(), variance[2]]).sqrt()
    assert torch.allclose(std.double().squeeze(), pooled, atol=1e-6)
    expected = Standardize.fit(face.float(), "image")
    mean, std = cached.scales["face"]
    assert torch.allclose(mean, expected.mean, rtol=1e-4)
    assert torch.allclose(std.reciprocal(), expected.scale, rtol=1e-4)
    assert "text" not in cached.scales
    first = build_model(cached.select("pose", "face"), "joint").encoders["pose"][0]
    assert isinstance(first, Standardize) and first.mean.equal(cached.scales["pose"][0])


@pytest.mark.usefixtures("small_shards")
def test_goes_on_after_a_kill_and_mends_what_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, plan = tmp_path / "out", make_plan(toy_table(tmp_path / "raw"))
    write, written = shards.write_shard, []

    def killed(*arguments: Any) -> Any:
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(arguments[0].path.name)
        return write(*arguments)

    monkeypatch.setattr("counterpoise.data.preparation.cache.write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(plan, out)
    assert not is_cache(out)
    with pytest.raises(InputError, match="not complete; run counterpoise prepare again"):
        load(out)
    (out / ".train-00003.arrow.1.tmp").write_bytes(b"half a shard")
    damaged = out / written[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    before = {name: (out / name).stat().st_mtime_ns for name in written}
    again: list[str] = []

    def counted(*arguments: Any) -> Any:
        again.append(arguments[0].path.name)
        return write(*arguments)

    monkeypatch.setattr("counterpoise.data.preparation.cache.write_shard", counted)
    done = []
    cached = prepare(plan, out, tick=done.append)
    assert sum(done) == len(plan.rows)
    assert written[1] in again and written[0] not in again and written[2] not in again
    assert (out / written[0]).stat().st_mtime_ns == before[written[0]]
    monkeypatch.undo()
    other = prepare(plan, tmp_path / "other")
    rows = torch.arange(len(other.train))
    same(cached.train[rows], other.train[rows])
    assert is_whole(out)


@pytest.mark.usefixtures("small_shards")
def test_what_is_damaged_is_said(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(make_plan(toy_table(tmp_path / "raw")), out)
    shard = out / "train-00001.arrow"
    content = shard.read_bytes()
    shard.write_bytes(content[:-9])
    with pytest.raises(InputError, match=r"train-00001.arrow is missing or cut short"):
        open_cache(out)
    shard.write_bytes(bytes(len(content)))
    with pytest.raises(InputError, match=r"train-00001.arrow is damaged"):
        open_cache(out)
    shard.write_bytes(content)
    index = json.loads((out / "dataset.json").read_text())
    for change, message in (
        ({"format": 9}, "is of format 9"),
        (
            {"splits": {"train": [{"file": "../x.arrow", "rows": 1, "bytes": 1, "sha256": ""}]}},
            "outside of its",
        ),
        ({"modalities": {"pose": {}}}, "damaged"),
        ({"task": {"task": "cooking", "outputs": 2}}, "unknown task 'cooking'"),
    ):
        (out / "dataset.json").write_text(json.dumps(index | change))
        with pytest.raises(InputError, match=message):
            open_cache(out)


def test_bad_cells_are_listed_and_left_out(tmp_path: Path) -> None:
    table = toy_table(tmp_path / "raw", missing=False)
    (tmp_path / "raw" / "3.npy").write_bytes(b"not an array")
    (tmp_path / "raw" / "11.npy").write_bytes(b"")
    (tmp_path / "raw" / "17.npy").unlink()
    np.save(tmp_path / "raw" / "20.npy", np.zeros((3, 5)))
    plan = make_plan(table)
    with pytest.raises(InputError, match=r"of 40 rows cannot be used, more than max_bad=0.05"):
        prepare(plan, tmp_path / "out")
    cached = prepare(plan, tmp_path / "out", max_bad=0.1)
    assert sum(len(split) for split in cached.splits.values()) == 36
    with (tmp_path / "out" / "bad.csv").open() as file:
        rows = {line["id"]: line["reason"] for line in csv.DictReader(file)}
    assert set(rows) == {"row-3", "row-11", "row-17", "row-20"}
    assert "cannot be read" in rows["row-3"] and rows["row-11"].endswith("is empty")
    assert rows["row-17"].endswith("is not there")
    assert rows["row-20"] == "is float32 [3, 5], where the others are float32 [3, 12]"
    index = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert (index["bad"], index["total"]) == (4, 40)
    with pytest.raises(InputError, match=r"row 'row-\d+': .*prepare the data first"):
        live = plan.live()
        for split in live.splits.values():
            split[torch.arange(len(split))]


@pytest.mark.usefixtures("small_shards")
def test_what_was_mended_is_taken_up_by_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out = toy_table(tmp_path / "raw", missing=False), tmp_path / "out"
    broken = [tmp_path / "raw" / f"{k}.npy" for k in (3, 11)]
    content = [path.read_bytes() for path in broken]
    for path in broken:
        path.write_bytes(b"not an array")
    plan = make_plan(table)
    assert sum(map(len, prepare(plan, out).splits.values())) == 38
    broken[0].write_bytes(content[0])
    write, again = shards.write_shard, []

    def counted(*arguments: Any) -> Any:
        again.append(arguments[0].path.name)
        return write(*arguments)

    monkeypatch.setattr("counterpoise.data.preparation.cache.write_shard", counted)
    cached = prepare(plan, out)
    assert len(again) == 1  # the shard of the mended row, not that of the other
    assert sum(map(len, cached.splits.values())) == 39
    assert "row-11" in (out / "bad.csv").read_text()
    assert "row-3," not in (out / "bad.csv").read_text()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    plan, out = make_plan(toy_table(tmp_path / "raw")), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no prepared data"):
        prepare(plan, out)
    (out / "thesis.txt").unlink()
    prepare(plan, out)
    other = make_plan(toy_table(tmp_path / "raw"), options={"pose": {"factor": 2.0}})
    with pytest.raises(InputError, match=r"other settings: readers.pose.factor is 1.0 there"):
        prepare(other, out)
    with pytest.raises(InputError, match="jobs must be a whole number from 1"):
        prepare(plan, out, jobs=0)


@pytest.mark.usefixtures("small_shards")
def test_order_and_shares_cover_every_sample_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = prepare(make_plan(toy_table(tmp_path / "raw")), tmp_path / "out")
    loader = Loader(cached.train, 8, seed=3, shuffle=True)
    orders = [torch.cat([b.index for b in loader.epoch(e)]) for e in (0, 0, 1)]
    assert orders[0].equal(orders[1]) and not orders[0].equal(orders[2])
    monkeypatch.setattr("counterpoise.core.ranks.world", lambda: 3)
    seen = []
    for rank in range(3):
        monkeypatch.setattr("counterpoise.core.ranks.rank", lambda rank=rank: rank)
        seen.append(torch.cat([b.index for b in loader.epoch(0)]))
    assert torch.cat(seen).sort().values.equal(torch.arange(len(cached.train)))


@pytest.mark.usefixtures("small_shards")
def test_reading_ahead_gives_the_same_and_ends_with_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = prepare(make_plan(toy_table(tmp_path / "raw")), tmp_path / "out")
    loader = Loader(cached.train, 4, seed=3, shuffle=True)
    for batch, rows in zip(loader.epoch(1), loader.shares(1), strict=True):
        same(batch, cached.train[rows])
    asked = []
    read = cached.train.__class__.__getitem__

    def counted(split: Any, rows: torch.Tensor) -> Batch:
        asked.append(len(rows))
        return read(split, rows)

    monkeypatch.setattr(cached.train.__class__, "__getitem__", counted)
    batches = loader.epoch(0)
    next(batches)
    time.sleep(0.2)
    assert len(asked) <= AHEAD + 1 < len(loader)  # not the whole epoch: memory is finite
    batches.close()  # as a method does that needs a few batches only
    monkeypatch.undo()
    again = pickle.loads(pickle.dumps(cached))  # a process of its own opens the files itself
    same(again.train[torch.arange(5)], cached.train[torch.arange(5)])


def test_only_rows_that_have_the_modality_are_read(tmp_path: Path) -> None:
    cached = prepare(make_plan(toy_table(tmp_path / "raw")), tmp_path / "out")
    column: Any = cached.train.inputs["pose"]
    gone = (~cached.train.present["pose"]).nonzero().squeeze(1)
    assert len(gone)
    assert not column.rows(gone).any() and not column._views


def test_a_reader_may_be_another_type(tmp_path: Path) -> None:
    """What is not standardised, and encoders of one's own."""
    plan = make_plan(toy_table(tmp_path / "raw", missing=False), modalities=["pose"])
    data = prepare(plan, tmp_path / "out")
    encoder = torch.nn.Sequential(torch.nn.Flatten(), MLP(36, 8))
    model = build_model(data, "joint", encoders={"pose": encoder})
    assert fit(model, data, "joint", epochs=1).history
    assert isinstance(plan.readers["pose"], Saved)


@pytest.mark.slow
def test_the_command_line_trains_and_evaluates_what_was_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, run = tmp_path / "prepared", tmp_path / "run"
    prepare(make_plan(toy_table(tmp_path / "raw"), modalities=["pose", "face"]), out)
    words = ["--epochs", "1", "--width", "8", "--out", str(run)]
    assert main(["train", str(out), *words]) == 0
    shown = capsys.readouterr().out
    assert "toy, joint: test" in shown
    assert main(["evaluate", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == shown.splitlines()[2].split()
    moved = out.rename(tmp_path / "moved")
    assert main(["evaluate", str(run)]) == 2
    assert "are not at" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--data-dir", str(moved)]) == 0
    compared = ["compare", str(moved), "--methods", "joint,mla", "--seeds", "1", "--epochs", "1"]
    assert main([*compared, "--width", "8", "--jobs", "2", "--out", str(tmp_path / "c")]) == 0
    assert main(["train", str(tmp_path / "nowhere")]) == 2
    assert "it is not there" in capsys.readouterr().err
    assert main(["train", str(tmp_path / "raw")]) == 2
    assert "holds no prepared data" in capsys.readouterr().err


def test_padding_does_not_count_in_the_statistics(tmp_path: Path) -> None:
    table = toy_table(tmp_path / "raw", missing=False)
    for row in table.rows:
        path = Path(row.cells["pose"])
        padded = np.load(path)
        padded[:, 7:] = 0
        np.save(path, padded)
    data = prepare(make_plan(table, modalities=["pose"]), tmp_path / "out")
    pose = data.train[torch.arange(len(data.train))].inputs["pose"]
    assert isinstance(pose, torch.Tensor)
    steps = pose[:, :, :7].transpose(0, 1).flatten(1).double()
    mean, std = data.scales["pose"]
    assert torch.allclose(mean.squeeze().double(), steps.mean(1), atol=1e-6)
    assert torch.allclose(std.squeeze().double(), steps.std(1, unbiased=False), atol=1e-6)


SLOW = """
import sys, time
from pathlib import Path
from data.tables import Saved, toy_table
from counterpoise.data import make_plan, prepare
from counterpoise.data.preparation import cache

read = Saved.read
Saved.read = lambda self, cell: (time.sleep(0.05), read(self, cell))[1]
cache.SHARD_ROWS = 2
prepare(make_plan(toy_table(Path(sys.argv[1]) / "raw")), Path(sys.argv[1]) / "out")
"""


@pytest.mark.slow
def test_killed_outright_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL leaves no time to tidy up: what is there is whole, and nothing is done twice."""
    paths = (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", ""))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    out = tmp_path / "out"
    work = subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], env=environment)
    deadline = time.monotonic() + 120
    while len(list(out.glob("*.json"))) < 4 and time.monotonic() < deadline:
        assert work.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    work.kill()
    work.wait()
    done = {path: path.stat().st_mtime_ns for path in out.glob("train-*.json")}
    assert done and not is_cache(out)
    monkeypatch.setattr("counterpoise.data.preparation.cache.SHARD_ROWS", 2)
    plan = make_plan(toy_table(tmp_path / "raw"))
    cached, whole = prepare(plan, out), prepare(plan, tmp_path / "whole")
    rows = torch.arange(len(whole.train))
    same(cached.train[rows], whole.train[rows])
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert is_whole(out)
