"""``counterpoise predict``: what it prints, what it asks about, where it stops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from folded import check_each

import counterpoise as cp
from counterpoise.cli.main import main

Captured = pytest.CaptureFixture[str]


def cli(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of a tiny run on a table of two columns of numbers."""
    folder = tmp_path_factory.mktemp("pack")
    lines = ["sensor,pose,target"]
    lines += [f"{k % 2} {k / 90} 1,{k % 2}.5 {k / 90},c{k % 2}" for k in range(90)]
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    assert cli("prepare", folder / "t.csv", folder / "data", "--quiet") == 0
    train = ["train", folder / "data", "--epochs", 1, "--width", 8, "--quiet"]
    assert cli(*train, "--out", folder / "run") == 0
    assert cli("pack", folder / "run", folder / "pack") == 0
    return folder / "pack"


def write_table(path: Path, count: int = 12) -> Path:
    lines = ["id,sensor,pose,speed,target"]
    lines += [f"r{k},0 0.5 1,{'' if k % 3 else '1 2'},{k},c{k % 2}" for k in range(count)]
    lines[2] = "r1,1 2,0 1,7,c1"
    path.write_text("\n".join([*lines, "r,,,,"]) + "\n")
    return path


def test_it_says_what_it_took_and_what_became_of_it(
    pack: Path, tmp_path: Path, capsys: Captured
) -> None:
    table, out = write_table(tmp_path / "t.csv"), tmp_path / "out.csv"
    capsys.readouterr()
    assert cli("predict", pack, table, "--out", out) == 0
    said, noted = capsys.readouterr()
    assert noted.splitlines()[:4] == [
        "modalities: sensor, pose",
        "id: id",
        "target: target, by which the answers are scored",
        "not used: speed",
    ]
    words = " ".join(said.split())
    assert "11 answered, 1 in part, 1 not answered" in words
    assert "r1: sensor: must hold 3 numbers, found 2" in said and "r: has no modality" in said
    assert "expected accuracy" in said and "all rows" in said and "balanced-" in said
    assert "(scored: 12 of 12 rows with a target)" in words and f"{out}: 13 rows" in said
    assert len(out.read_text().splitlines()) == 14
    capsys.readouterr()
    assert cli("predict", pack, table, "--out", tmp_path / "q.csv", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_targets_that_are_no_class_are_told(pack: Path, tmp_path: Path, capsys: Captured) -> None:
    table = tmp_path / "t.csv"
    lines = [f"0 {k} 1,1 {k},{'q' if k < 4 else 'c1'}" for k in range(10)]
    table.write_text("\n".join(["sensor,pose,target", *lines]) + "\n")
    capsys.readouterr()
    assert cli("predict", pack, table, "--out", tmp_path / "a.csv") == 0
    said, noted = capsys.readouterr()
    told = "4 rows have a target that is no class of the model: 'q'; known: c0, c1"
    assert told in said.splitlines() and "warning" not in noted
    assert "(scored: 6 of 10 rows with a target)" in " ".join(said.split())
    table.write_text("\n".join(["sensor,pose,target", *lines[:4]]) + "\n")
    for words in (["--json"], ["--quiet"], []):
        out = tmp_path / f"b{len(words) and words[0]}.csv"
        assert cli("predict", pack, table, "--out", out, *words) == 0
        said, noted = capsys.readouterr()
        assert f"counterpoise: warning: nothing is scored: {told}" in noted.splitlines()
        if words == ["--json"]:
            found = json.loads(said)
            assert (found["unknown"], found["unknown_targets"]) == (4, {"q": 4})
            assert (found["targets"], found["scored"], found["scores"]) == (4, 0, {})


def test_json_is_for_programs(pack: Path, tmp_path: Path, capsys: Captured) -> None:
    table, out = write_table(tmp_path / "t.csv"), tmp_path / "out.jsonl"
    capsys.readouterr()
    asked = ["--coverage", 0.8, "--accuracy", 0.5, "--ignore", "pose,speed"]
    assert cli("predict", pack, table, "--out", out, "--json", *asked) == 0
    said, noted = capsys.readouterr()
    found = json.loads(said)
    assert found["rows"] == 13 and set(found["subsets"]) == {"sensor", ""}
    assert found["scores"]["all rows"]["accuracy"] >= 0 and found["scored"] == 11
    assert found["problems"][0]["row"] == "r1" and "pose" not in found["scores"]
    assert "modalities: sensor (absent: pose)" in noted
    row = json.loads(out.read_text().splitlines()[0])
    assert {"abstain", "set", "id", "label", "weight_pose"} < set(row)


def test_a_run_answers_as_its_pack(pack: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv")
    for name in ("pack", "run"):
        model = pack.with_name(name)
        assert cli("predict", model, table, "--out", tmp_path / f"{name}.csv", "--quiet") == 0
    assert (tmp_path / "pack.csv").read_bytes() == (tmp_path / "run.csv").read_bytes()


def test_wrong_commands_are_one_line(pack: Path, tmp_path: Path, capsys: Captured) -> None:
    table = write_table(tmp_path / "t.csv")
    (tmp_path / "near.csv").write_text("Sensors,pose\n0 1 1,1 2\n")
    (tmp_path / "none.csv").write_text("a,b\n1,2\n")
    (tmp_path / "bare.csv").write_text("sensor,pose\n")
    (tmp_path / "torn.csv").write_text('sensor,pose\n0 1 1,"1 2\n')
    (tmp_path / "there.csv").write_text("mine")
    out = tmp_path / "out.csv"
    wrong: list[tuple[list[object], str]] = [
        ([pack, table], "--out"),
        ([pack, table, "--out", tmp_path / "out.xlsx"], "format of --out '.xlsx'"),
        ([pack, table, "--out", tmp_path / "there.csv"], "there already"),
        ([pack, tmp_path / "no.csv", "--out", out], "no.csv is not there"),
        ([pack, tmp_path, "--out", out], "found the folder"),
        ([tmp_path, table, "--out", out], "must be a pack"),
        ([pack, tmp_path / "near.csv", "--out", out], "'Sensors' and none for 'sensor'"),
        ([pack, tmp_path / "none.csv", "--out", out], "no column of a modality (sensor, pose)"),
        ([pack, tmp_path / "bare.csv", "--out", out], "holds no row"),
        ([pack, tmp_path / "torn.csv", "--out", out], "a quote is not closed"),
        ([pack, table, "--out", out, "--id", "nr"], "unknown id column of t.csv 'nr'"),
        ([pack, table, "--out", out, "--ignore", "spede"], "did you mean 'speed'"),
        ([pack, table, "--out", out, "--batch-size", 0], "--batch-size must be"),
        ([pack, table, "--out", out, "--accuracy", 7], "accuracy must be"),
        ([pack, table, "--out", out, "--coverage", "x"], "--coverage"),
        ([pack, table, "--out", out, "--device", "abacus"], "abacus"),
        ([pack, table, "--out", out, "--resum"], "did you mean '--resume'"),
    ]

    def check(words: list[object], told: str) -> None:
        capsys.readouterr()
        assert cli("predict", *words) == 2
        said, error = capsys.readouterr()
        last = error.splitlines()[-1]
        assert said == "" and last.startswith("counterpoise: error: ") and told in last, error

    check_each(wrong, check)
    assert not out.exists()


@pytest.mark.slow
def test_a_killed_command_goes_on(pack: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle: the rest is answered, and the file is that of an undisturbed run."""
    table, out, whole = tmp_path / "t.csv", tmp_path / "out.csv", tmp_path / "whole.csv"
    write_table(table, 80_000)
    words = [sys.executable, "-m", "counterpoise", "predict", str(pack), str(table), "--out"]
    assert cli(*words[3:], whole, "--quiet") == 0
    killed = subprocess.Popen([*words, str(out), "--quiet"])
    parts = tmp_path / "out.csv.parts"
    while killed.poll() is None and len(list(parts.glob("*.arrow"))) < 2:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL and not out.exists()
    assert cli(*words[3:], out, "--quiet") == 2
    assert cli(*words[3:], out, "--quiet", "--resume") == 0
    assert out.read_bytes() == whole.read_bytes() and not parts.exists()


def test_a_plain_data_frame_is_answered_by_its_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    target = np.arange(90) % 2
    frame = pd.DataFrame(rng.normal(size=(90, 3)) + target[:, None] * 3, columns=["u", "v", "w"])
    model = cp.MultimodalClassifier(epochs=5, width=8).fit(frame, target)
    model.save(tmp_path / "model")
    found = cp.Predictor.load(tmp_path / "model")
    assert (found.predict(frame).label == model.predict(frame)).all()
    assert (found.predict({"x": frame}).label == model.predict(frame)).all()
    for other in (frame[["v", "u", "w"]], {"x": frame[["v", "u", "w"]]}):
        with pytest.raises(cp.InputError, match="must have the columns of training in their order"):
            found.predict(other)
    frame.loc[3, "v"] = np.nan
    frame.assign(name="a")[["w", "name", "v", "u"]].to_csv(tmp_path / "t.csv", index=False)
    words = ["predict", tmp_path / "model", tmp_path / "t.csv", "--out", tmp_path / "o.csv"]
    assert main([str(word) for word in words]) == 0
    assert "x (u, v, w)" in "".join(capsys.readouterr())
    answers = pd.read_csv(tmp_path / "o.csv")
    with pytest.warns(UserWarning, match="values were not measured"):
        wanted = found.predict(frame)
    assert (answers["label"] == wanted.label).all() and answers["problem"].isna().all()
