"""``counterpoise tune``: refused in a line, killed and resumed, two at a time in one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folded import check_each

from counterpoise.cli.main import main
from counterpoise.core import storage
from counterpoise.tune.journal import open_storage, open_study, quietly

FAST = ["--epochs", "1", "--width", "4"]


def read(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Method -> its trials, as the report has them."""
    record, _ = storage.read_record(out / "searches.json")
    return {each["method"]: each["trials"] for each in record["searches"]}


def states(out: Path, label: str) -> Counter[str]:
    """How many trials are in each state, as the journal says."""
    path = out / "journal.jsonl"
    with quietly(path):
        return Counter(
            trial.state.name for trial in open_study(open_storage(path), label, True).trials
        )


def test_a_search_and_its_confirmation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t"
    (tmp_path / "s.yaml").write_text("methods: {ogm: {alpha: {low: 0.1, high: 0.2}}}")
    words = ["tune", "digits", "--methods", "ogm", "--trials", "2", *FAST, "--out", str(out)]
    assert main([*words, "--space", str(tmp_path / "s.yaml"), "--confirm", "1"]) == 0
    said = capsys.readouterr()
    assert "ogm: searched are ogm.alpha 0.1 to 0.2" in said.err
    assert "ogm, trial 0: complete, validation" in said.err
    assert "Best validation accuracy" in said.out and "Test accuracy" in said.out
    assert "Optuna" not in said.err and "Warning" not in said.err
    assert read(out)["ogm"][0]["values"] == {"ogm.alpha": 0.8}
    assert "How settings were chosen" in (out / "confirm" / "report.html").read_text()
    assert main(["report", str(out)]) == 0
    assert list((out / "confirm" / "runs").glob("*/seed-1"))


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.yaml").write_text("lr: {low: 1, high: 0}")
    wrong = {
        "--trials=0": "trials must be a whole number from 1",
        "--trials=x": "invalid int value",
        "--minutes=-1": "minutes must be a number above 0",
        "--minutes=nan": "minutes must be",
        "--trials=3 --minutes=3": "--trials and --minutes are two budgets; give one",
        "--jobs=0": "--jobs must be",
        "--confirm=0": "--confirm must be",
        "--space=gone.yaml": "space file gone.yaml is not there",
        f"--space={tmp_path / 's.yaml'}": "s.yaml: lr.low must be below high, found 1",
        "--methods=mlaa": "did you mean 'mla'",
        "--methods=joint,joint": "each once",
    }

    def check(flags: str, said: str) -> None:
        words = ["tune", "digits", *FAST, "--out", str(tmp_path / "t"), *flags.split()]
        assert main(words) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert said in line, line

    check_each(wrong.items(), check)
    assert not (tmp_path / "t").exists()


def test_without_optuna_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["tune", "digits", *FAST]) == 2
    assert "pip install '.[tune]' in the checkout" in capsys.readouterr().err


def start(out: Path, *words: str) -> subprocess.Popen[str]:
    """A command of its own, on few samples."""
    file = out.parent / "toy.npz"
    if not file.exists():
        chance = np.random.default_rng(0)
        arrays = {name: chance.normal(size=(90, 4)).astype(np.float32) for name in "ab"}
        np.savez(file, target=np.arange(90) % 3, **arrays)
    given = [*("tune", str(file), "--methods", "joint,ogm", "--width", "4"), *words]
    return subprocess.Popen(
        [sys.executable, "-m", "counterpoise", *given, "--out", str(out)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def wait_for(out: Path, trials: int) -> None:
    """Wait until so many trials of joint have begun, and the last of them has a checkpoint."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (out / "trials" / "joint" / f"{trials - 1:04d}" / "checkpoint.pt").exists():
            return
        time.sleep(0.02)
    raise AssertionError("no trial has begun")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_and_resumed_no_trial_is_lost(tmp_path: Path, jobs: int) -> None:
    words = ["--trials", "4", "--epochs", "12", "--jobs", str(jobs)]
    out = tmp_path / "t"
    worker = start(out, *words)
    wait_for(out, 2)
    worker.send_signal(signal.SIGKILL)  # its own processes end by themselves
    worker.communicate(timeout=60)
    assert states(out, "joint")["RUNNING"] + states(out, "ogm")["RUNNING"] >= 1
    worker = start(out, *words)
    _, err = worker.communicate(timeout=300)
    assert worker.returncode == 0, err
    for trials_of in read(out).values():
        assert [trial["number"] for trial in trials_of] == [0, 1, 2, 3]
        assert {trial["state"] for trial in trials_of} == {"complete"}
        assert {trial["epochs"] for trial in trials_of} == {12}
    if jobs == 1:  # then it is the search that was never stopped, bit for bit
        whole = start(tmp_path / "whole", *words)
        _, err = whole.communicate(timeout=300)
        assert whole.returncode == 0, err
        for label, found in read(out).items():
            for trial, other in zip(found, read(tmp_path / "whole")[label], strict=True):
                assert trial | {"seconds": 0} == other | {"seconds": 0}


@pytest.mark.slow
def test_two_commands_in_one_folder_share_the_trials(tmp_path: Path) -> None:
    out = tmp_path / "t"
    words = ["--trials", "8", "--epochs", "12"]
    workers = [start(out, *words), start(out, *words)]
    errors = [worker.communicate(timeout=300)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    done = [
        sum(", trial " in line and "validation" in line for line in e.splitlines()) for e in errors
    ]
    assert sum(done) == 16 and min(done) >= 1, errors
    for trials in read(out).values():
        assert [trial["number"] for trial in trials] == list(range(8))
        assert {trial["state"] for trial in trials} <= {"complete", "stopped"}
    assert states(out, "joint")["RUNNING"] == 0
    assert not list((out / "trials").rglob("*.pt"))


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_leaves_no_process(tmp_path: Path) -> None:
    worker = start(tmp_path / "t", "--trials", "9", "--epochs", "500", "--jobs", "2", "--quiet")
    wait_for(tmp_path / "t", 1)
    os.killpg(worker.pid, signal.SIGINT)
    _, err = worker.communicate(timeout=60)
    assert worker.returncode == 130 and err.count("\n") == 1, err
    assert "the same command goes on" in err
    deadline = time.monotonic() + 20
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(worker.pid, 0)
            time.sleep(0.1)
