"""Nine public data sets as files of arrays: each trains with no option but the method.

``shared/data/README.md`` says where they are from. They are for measuring, and no part of the
project; without them these tests are skipped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import counterpoise as cp
from counterpoise.cli.main import main
from counterpoise.data import make_plan, prepare
from counterpoise.data.npz import npz_table
from counterpoise.training.run import open_run

ARRAYS = Path(os.environ.get("COUNTERPOISE_DATA", "")) / "arrays"
slow = pytest.mark.slow


@dataclass(frozen=True)
class Case:
    """What is known of a set.

    Attributes:
        name: of the file.
        note: what is said of its target.
        sizes: of train, validation and test.
        least: what its test accuracy must exceed; of two classes, where one is rare, the AUROC.
        epochs: of training.
        metric: what ``least`` is of.
    """

    name: str
    note: str
    sizes: tuple[int, int, int]
    least: float
    epochs: int = 2
    metric: str = "accuracy"


WIKI = "10 classes (art, biology, geography, history, literature, media, music, royalty, sport, "
MOVES = "WALKING, WALKING_UPSTAIRS, WALKING_DOWNSTAIRS, ... LIE_TO_STAND"
CASES = [
    Case("wiki", WIKI + "warfare), smallest 172 rows", (1790, 383, 693), 0.4),
    Case("leaves100", "100 classes (0, 1, 2, ... 99), smallest 16 rows", (1120, 240, 240), 0.1, 6),
    Case(
        "mfeat",
        "10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9), smallest 200 rows",
        (1400, 300, 300),
        0.8,
    ),
    Case("tcga-breast", "3 classes (Basal, Her2, LumA), smallest 44 rows", (124, 26, 70), 0.55, 5),
    Case("hapt", f"12 classes ({MOVES}), smallest 62 rows", (4156, 901, 910), 0.6),
    Case(
        "icu-2012",
        "2 classes (survived, died), smallest 554 rows",
        (2800, 600, 600),
        0.65,
        metric="auroc",
    ),
    Case("lis-myo", "26 classes (A, B, C, ... Z), smallest 30 rows", (578, 124, 78), 0.08, 5),
    Case(
        "phone-watch-har",
        "5 classes (SEATED, SITTING_DOWN, STANDING_UP, TURNING, WALKING), smallest 342 rows",
        (3247, 752, 705),
        0.7,
    ),
]
FAST = ("wiki", "leaves100", "mfeat", "tcga-breast")
IGNORED = pytest.mark.filterwarnings(
    "ignore:the same samples are in two splits",  # mfeat: three rows of its validation and test
    "ignore:inputs",  # icu: values that were not measured
    "ignore:vitals",  # and a channel that does not vary
    "ignore:target. 60 of 4000 rows",
)
pytestmark = [
    IGNORED,
    pytest.mark.data,
    pytest.mark.skipif(not ARRAYS.is_dir(), reason="needs the arrays in COUNTERPOISE_DATA"),
]


def command(*words: object) -> int:
    return main(list(map(str, words)))


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c.name, marks=[] if c.name in FAST else [slow]) for c in CASES]
)
def test_train(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = ARRAYS / f"{case.name}.npz", tmp_path / "run"
    assert command("train", file, "--method", "mla", "--epochs", case.epochs, "--out", out) == 0
    assert f"target: {case.note}\n" in capsys.readouterr().err
    run, data = open_run(out)
    assert tuple(len(split) for split in data.splits.values()) == case.sizes
    found = run.evaluate(data)
    whole = found.metrics[data.modalities]
    assert whole[case.metric] > case.least
    assert all(bool(x.isfinite().all()) for x in found.logits.values())
    assert command("evaluate", out) == 0
    groups = [set(s.groups.tolist()) for s in data.splits.values() if s.groups is not None]
    assert not groups or not groups[0] & groups[2]


def test_a_modality_that_no_test_row_has() -> None:
    data = cp.load(ARRAYS / "tcga-breast.npz")
    assert data.train.present["protein"].all() and not data.test.present["protein"].any()
    found = cp.evaluate(cp.build_model(data, "mla"), data, "mla")
    assert ("protein",) not in found.metrics and found.metrics["mrna", "protein"]
    assert bool(found.outcome("protein").isnan().all())


@slow
def test_compare_with_a_modality_that_no_test_row_has(tmp_path: Path) -> None:
    words = ["--methods", "joint,unimodal", "--seeds", 1, "--epochs", 2, "--out", tmp_path / "c"]
    assert command("compare", ARRAYS / "tcga-breast.npz", *words, "--quiet") == 0
    run = tmp_path / "c" / "runs" / "joint" / "seed-0"
    assert command("evaluate", run, "--against", tmp_path / "c/runs/unimodal/seed-0") == 0


def test_days_in_hospital_are_refused_without_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("train", ARRAYS / "icu-2012-stay.npz", "--method", "joint") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "83 whole numbers from 1 to 154" in said and "--task regression" in said


@slow
def test_days_in_hospital(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", ARRAYS / "icu-2012-stay.npz", "--method", "joint", "--task", "regression"]
    assert command(*words, "--epochs", 3, "--out", tmp_path / "run") == 0
    assert "target: regression, from 1 to 154, mean 13.66\n" in capsys.readouterr().err
    run, data = open_run(tmp_path / "run")
    assert sum(len(split) for split in data.splits.values()) == 3940
    assert run.evaluate(data).metrics[data.modalities]["corr"] > 0.1


@pytest.mark.parametrize("name", ["wiki", "tcga-breast", "phone-watch-har", "icu-2012-stay"])
def test_what_is_prepared_is_what_training_reads(name: str, tmp_path: Path) -> None:
    file, task = ARRAYS / f"{name}.npz", "regression" if "stay" in name else None
    there = prepare(make_plan(npz_table(file, task)), tmp_path / "out")
    here = cp.load(file, task=task)
    assert there.shapes == here.shapes
    for part, split in here.splits.items():
        rows = torch.arange(len(split))
        one, other = split[rows], there.splits[part][rows]
        assert torch.equal(one.target, other.target)
        for m in here.modalities:
            assert torch.equal(one.present[m], other.present[m])
            assert torch.equal(one.inputs[m], other.inputs[m])
