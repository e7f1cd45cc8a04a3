"""A file of arrays on the command line: train, resume, evaluate, compare, prepare."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from counterpoise.cli.main import main
from counterpoise.training.record import RunRecord
from counterpoise.training.run import open_run

N = 80
SMALL = ["--epochs", "2", "--width", "8"]


def write(path: Path, seed: int = 0, **others: object) -> Path:
    generator = np.random.default_rng(seed)
    target = np.arange(N) % 4 / 1.0
    inputs = {m: generator.normal(size=(N, 5)) + target[:, None] for m in ("a", "b")}
    np.savez(path, target=target.astype(int), **{**inputs, **others})
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "own.npz")


def command(*words: object) -> int:
    return main(list(map(str, words)))


def test_train_evaluate_and_a_file_that_moved(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert command("train", file, "--method", "mla", "--out", out, *SMALL) == 0
    out_said, err = capsys.readouterr()
    assert "own, mla: test, last epoch" in out_said
    assert "target: 4 classes (0, 1, 2, 3), smallest 20 rows\n" in err
    record = RunRecord.read(out)
    assert record.source == str(file) and record.read_as is None
    assert "read_as" not in json.loads((out / "run.json").read_text())
    assert command("evaluate", out) == 0

    moved = tmp_path / "there" / "own.npz"
    moved.parent.mkdir()
    file.rename(moved)
    capsys.readouterr()
    assert command("evaluate", out) == 2
    assert "are not at" in (said := capsys.readouterr().err) and "--data-dir" in said
    for place in (moved, moved.parent):
        assert command("evaluate", out, "--data-dir", place) == 0
    write(moved, seed=1)
    assert command("evaluate", out, "--data-dir", moved) == 2
    assert "was trained on another version of own" in capsys.readouterr().err


def test_the_task_goes_with_the_run(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "run", ["--task", "regression", *SMALL]
    assert command("train", file, "--out", out, *words) == 0
    run, data = open_run(out)
    assert data.task.state()["task"] == "regression" == run.task.state()["task"]
    assert command("evaluate", out) == 0
    assert "mae" in capsys.readouterr().out
    longer = ["--width", "8", "--epochs", "3", "--resume"]
    assert command("train", file, "--out", out, "--task", "regression", *longer) == 0
    assert open_run(out)[0].history[-1]["epoch"] == 2
    assert command("train", file, "--out", out, *longer) == 2
    assert "holds a run with other settings: data." in capsys.readouterr().err


@pytest.mark.slow
def test_compare_and_report(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "compared"
    words = ["compare", file, "--methods", "joint,unimodal", "--out", out, *SMALL]
    assert command(*words, "--task", "regression", "--seeds", "1", "--quiet") == 0
    assert command(*words, "--task", "regression", "--jobs", "2", "--seeds", "2", "--quiet") == 0
    assert command("report", out, "--quiet") == 0
    run, _ = open_run(out / "runs" / "unimodal" / "seed-1")
    assert run.task.state()["task"] == "regression"
    assert command("evaluate", out / "runs" / "joint" / "seed-0") == 0


def test_prepare(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(file, w=np.arange(N) + 1.0)
    out = tmp_path / "prepared"
    assert command("prepare", file, out, "--modalities", "a,b", "--weight", "w", "--seed", "1") == 0
    assert "train: counterpoise train" in capsys.readouterr().out
    assert command("train", out, "--out", tmp_path / "run", *SMALL) == 0
    assert "target: 4 classes (0, 1, 2, 3), smallest 20 rows\n" in capsys.readouterr().err
    _, data = open_run(tmp_path / "run")
    assert data.modalities == ("a", "b") and data.train.weight is not None


def test_refused_in_a_line(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("prepare", file, tmp_path / "prepared", "--quiet") == 0
    for words, said in {
        ("train", "digits", "--task", "regression"): "task is for files of arrays (.npz); digits",
        ("train", tmp_path / "prepared", "--task", "regression"): "task is for files of arrays",
        ("train", file, "--task", "regressions"): "invalid choice: 'regressions'",
        ("train", tmp_path / "gone.npz"): "gone.npz is not there",
        ("train", "gone.npz"): "gone.npz is not there",
        ("prepare", file, tmp_path / "o", "--type", "a=array"): "--type is for manifests",
        ("prepare", file, tmp_path / "o", "--set", "a.indicators=true"): "is for manifests",
        ("prepare", file, tmp_path / "o", "--target", "goal"): "unknown target array in own.npz",
    }.items():
        assert command(*words) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error


def test_notes_are_printed_unless_quiet(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from counterpoise.compare import recipe

    def load(*names: object, **others: object) -> object:
        data = loaded(*names, **others)
        data.notes = ("target: 4 classes", "a: some\nwords")
        return data

    loaded = recipe.load
    monkeypatch.setattr(recipe, "load", load)
    for words in (["train", file], ["compare", file, "--methods", "joint", "--seeds", "1"]):
        for quiet in ([], ["--quiet"]):
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            assert command(*words, "--out", tmp_path / "out", *SMALL, *quiet) == 0
            lines = "target: 4 classes\na: some words\n"
            assert (lines in capsys.readouterr().err) == (not quiet)
