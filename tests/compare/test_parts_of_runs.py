"""Comparisons in several processes and in parts give the numbers of one undisturbed one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from counterpoise import Settings
from counterpoise.compare.compare import Comparison, compare
from counterpoise.compare.recipe import Recipe
from counterpoise.compare.run import Lines, Watch
from counterpoise.compare.share import Part
from counterpoise.core.executors import Executor
from counterpoise.core.sharing import pack
from counterpoise.report import join_folders, records
from counterpoise.report.folder import comparison_folder, read_runs

METHODS = ["joint", "umt"]
RECIPE = Recipe("toy.npz", settings=Settings(epochs=1, batch_size=64), width=8)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """Of a file of arrays large enough to be shared."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(256, 200)).astype(np.float32) for name in "ab"}
    np.savez("toy.npz", target=np.arange(256) % 2, **arrays)
    return RECIPE


def numbers(folder: Path) -> list[str]:
    """What was measured but for times, in no order."""
    lines = [
        line
        for name in ("records.jsonl", "samples.jsonl")
        for line in records.read(folder / name)
        if line.get("metric") not in ("seconds", "processor")
    ]
    return sorted(json.dumps(line, sort_keys=True) for line in lines)


class Noted(Watch):
    """Keeps the runs as they were done."""

    def __init__(self) -> None:
        self.done: list[tuple[str, int]] = []

    def on_run(self, outcome: Lines | str) -> None:
        assert isinstance(outcome, Lines)
        line = outcome.records[0]
        self.done.append((line["method"], line["seed"]))


class Asked(Executor):
    """Keeps what it is asked to do, and does nothing."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []

    def run(self, work: Any, jobs: Any, hear: Any) -> Any:
        self.jobs = list(jobs)
        return iter([])


@pytest.mark.slow
def test_parts_in_folders_of_their_own_join_to_the_whole(recipe: Recipe, tmp_path: Path) -> None:
    compare(recipe, METHODS, [0, 1], tmp_path / "whole")
    for k in (1, 2):
        compare(recipe, METHODS, [0, 1], tmp_path / str(k), part=Part(k, 2))
    join_folders([tmp_path / "2", tmp_path / "1"], tmp_path / "all")
    assert numbers(tmp_path / "all") == numbers(tmp_path / "whole")
    done = [records.done(records.read(tmp_path / str(k) / "records.jsonl")) for k in (1, 2)]
    assert [len(runs) for runs in done] == [2, 2] and not done[0] & done[1]

    again = Noted()  # a part is a comparison: it resumes, and takes another part in
    compare(recipe, METHODS, [0, 1], tmp_path / "1", part=Part(1, 2), watch=again)
    assert again.done == []
    compare(recipe, METHODS, [0, 1], tmp_path / "1", part=Part(2, 2), watch=again)
    assert len(again.done) == 2
    assert numbers(tmp_path / "1") == numbers(tmp_path / "whole")
    record = comparison_folder(tmp_path / "1").read()
    assert record["parts"] == ["1/2", "2/2"]
    assert sorted(read_runs(record)) == sorted(read_runs(record, "whole"))


def test_the_longest_run_is_begun_first(recipe: Recipe, tmp_path: Path) -> None:
    comparison, asked = Comparison(recipe, recipe.load(), tmp_path / "c"), Asked()
    pairs = [(label, seed) for seed in (0, 1) for label in METHODS]
    assert list(comparison.train(pairs, asked, None)) == []
    assert asked.jobs == [("umt", 0), ("umt", 1), ("joint", 0), ("joint", 1)]
    # What was measured counts more than what is known of a method.
    for method, value in (("joint", 99.0), ("umt", 1.0)):
        line = ("toy", method, 7, 0, "run", "run", "a+b", "seconds", value)
        records.append(
            comparison.out / "records.jsonl", [dict(zip(records.RECORD, line, strict=True))]
        )
    list(comparison.train(pairs, asked, None))
    assert asked.jobs == [("joint", 0), ("joint", 1), ("umt", 0), ("umt", 1)]


def test_a_pickled_comparison_holds_no_array(recipe: Recipe, tmp_path: Path) -> None:
    data = recipe.load()
    size = sum(value.nbytes for split in data.splits.values() for value in split.inputs.values())
    with pack(Comparison(recipe, data, tmp_path)) as parcel:
        assert parcel._size >= 0.6 * size
        assert len(parcel._content) < 0.4 * size


@pytest.mark.slow
def test_processes_change_no_number(recipe: Recipe, tmp_path: Path) -> None:
    for jobs in (1, 2):
        compare(recipe, METHODS, [0, 1], tmp_path / str(jobs), jobs=jobs)
    assert numbers(tmp_path / "1") == numbers(tmp_path / "2")
