"""Folders that commit b6368ef wrote: opened, evaluated, resumed and lengthened by today's code.

``tests/old/b6368ef/README.md`` says how they were made. Weights that are only read must be equal;
what is computed with them depends on processor and build of torch, and gets a tolerance.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import same, weights

import counterpoise as cp
from counterpoise.cli.main import main
from counterpoise.core import storage
from counterpoise.data.preparation.cache import open_cache
from counterpoise.report import records
from counterpoise.training.record import RunRecord
from counterpoise.training.run import Run, load_run, open_run

pytestmark = pytest.mark.filterwarnings("ignore:.*of an? older version|.*by an older version")

OLD = Path(__file__).parents[1] / "old" / "b6368ef"
EXPECTED = json.loads((OLD / "expected.json").read_text())["runs"]
UMT = ["digits", "--method", "umt", "--set", "weight=5", "--set", "teacher_epochs=1"]
UMT += ["--width", "8", "--momentum", "0.8", "--schedule", "step:every=1:factor=0.5", "--quiet"]
CHAIN = ["digits", "--method", "modality-dropout,ogm-ge", "--set", "modality-dropout.rates=0.4"]
CHAIN += ["--set", "ogm-ge.alpha=0.5", "--width", "4", "--seed", "1", "--best-with", "audio"]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the folders that may be written to."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def train(*words: object) -> int:
    return main(["train", *map(str, words)])


def check_metrics(run: Run, data: cp.Dataset, expected: dict[str, Any]) -> None:
    for which, subsets in expected["test"].items():
        result = run.evaluate(data, which=which)
        found = {"+".join(sorted(s)): values for s, values in result.metrics.items()}
        assert found.keys() == subsets.keys()
        for subset, values in subsets.items():
            kept = {name: found[subset][name] for name in values}
            assert kept == pytest.approx(values, rel=1e-4), (which, subset)


def digest(state: dict[str, torch.Tensor]) -> str:
    """As ``expected.json`` has it: names and bytes in turn, ordered by name."""
    found = hashlib.sha256()
    for name in sorted(state):
        found.update(name.encode())
        found.update(state[name].contiguous().numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize(
    "name", ["run-chain", "run-umt-stopped", "compare/runs/joint/seed-0", "compare/runs/mla/seed-0"]
)
def test_a_run_is_opened_with_its_weights_and_its_metrics(name: str) -> None:
    run, data = open_run(OLD / name)
    state = EXPECTED[name]["state"]
    assert [entry["loss"] for entry in run.history] == state["loss"]
    assert (len(run.history), run.best_epoch) == (state["epochs"], state["best_epoch"])
    if last := EXPECTED[name]["weights"]["last"]:
        assert digest(weights(run.model)) == last["sha256"]
    check_metrics(run, data, EXPECTED[name])
    assert run.validation == {}  # that version kept none


def test_prepared_data_and_a_run_on_them(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(open_cache(old / "prepared").train) > 0
    run, data = open_run(old / "run-prepared", str(old / "prepared"))
    check_metrics(run, data, EXPECTED["run-prepared"])
    words = ["prepare", old / "prepared.csv", old / "prepared", "--type", "numbers=numbers"]
    words += ["--type", "note=text", "--jobs", "1", "--quiet"]
    before = (old / "prepared" / "train-00000.arrow").stat().st_mtime_ns
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    assert (old / "prepared" / "train-00000.arrow").stat().st_mtime_ns == before


def python_run(old: Path, **changes: Any) -> tuple[Run, cp.ArrayData]:
    data = cp.load("digits")
    model = cp.build_model(data, "joint", width=4, seed=3)
    settings: dict[str, Any] = {"epochs": 2, "optimizer": "adam", "lr": 0.01, "seed": 3}
    settings |= changes
    return cp.fit(model, data, "joint", out=old / "run-python", resume=True, **settings), data


def test_a_run_made_in_python(old: Path) -> None:
    data = cp.load("digits")
    method = cp.build_method("joint")
    run = load_run(OLD / "run-python", cp.build_model(data, "joint", width=4), data, method)
    check_metrics(run, data, EXPECTED["run-python"])
    with pytest.raises(cp.InputError, match="holds no run of the command line"):
        open_run(OLD / "run-python")
    # Adam had a momentum in its record, which it never used: it makes no difference.
    again, _ = python_run(old)
    assert same(weights(again.model), weights(run.model))
    with pytest.raises(cp.InputError, match=r"other settings: settings.lr is 0.01 there and 0.02"):
        python_run(old, lr=0.02)


def test_a_stopped_run_ends_as_it_would_have_ended_then(old: Path) -> None:
    out = old / "run-umt-stopped"
    assert train(*UMT, "--epochs", "4", "--out", out, "--resume") == 0
    found = storage.read_weights(out / "last.safetensors")
    wanted = storage.read_weights(OLD / "run-umt-resumed.last.safetensors")
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)
    run, data = open_run(out)
    check_metrics(run, data, EXPECTED["run-umt-stopped, resumed"])
    assert {which: kept.epoch for which, kept in run.validation.items()} == {"last": 3, "best": 2}
    record, sealed = storage.read_record(out / "run.json")
    assert sealed
    assert record["format"] == 3 and record["epochs"] == 4
    assert record["made_with"] == {"counterpoise": "0.1.0"}
    assert record["continued"][0]["torch"] == torch.__version__


def test_a_regression_of_before_it_had_a_scale_goes_on_with_targets_as_they_are(old: Path) -> None:
    out, data_dir = old / "run-regression", str(old / "regression")
    run, data = open_run(out, data_dir)
    assert data.task.state() == {"task": "regression", "outputs": 1, "loss": "mse"}
    assert run.task.state() == data.task.state()
    check_metrics(run, data, EXPECTED["run-regression"])
    words = [data_dir, "--method", "joint", "--width", "4", "--epochs", "4", "--batch-size", "8"]
    assert train(*words, "--quiet", "--out", out, "--resume") == 0
    found = storage.read_weights(out / "last.safetensors")
    for name, tensor in storage.read_weights(
        OLD / "run-regression-resumed.last.safetensors"
    ).items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)
    run, data = open_run(out, data_dir)
    check_metrics(run, data, EXPECTED["run-regression, resumed"])
    # A run that begins today learns the same data standardised, and says so in its record.
    assert train(*words, "--quiet", "--out", old / "new") == 0
    new, _ = open_run(old / "new", data_dir)
    assert RunRecord.read(old / "new").data["mean"] == new.task.state()["mean"] != [0.0]
    old_run, new_run = (r.evaluate(data).metrics[("a", "b")]["mae"] for r in (run, new))
    assert new_run < old_run  # after as many epochs


def test_a_finished_run_is_lengthened(old: Path) -> None:
    run, data = python_run(old, epochs=3)
    model = cp.build_model(data, "joint", width=4, seed=3)
    at_once = cp.fit(model, data, "joint", epochs=3, optimizer="adam", lr=0.01, seed=3)
    for name, tensor in weights(at_once.model).items():
        torch.testing.assert_close(weights(run.model)[name], tensor, rtol=1e-4, atol=1e-6)
    assert RunRecord.read(old / "run-python").settings.epochs == 3


def test_a_stopped_run_gets_another_length_if_it_did_not_read_it(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = old / "run-umt-stopped"  # it says how long its teachers train
    assert train(*UMT, "--epochs", "3", "--out", out, "--resume") == 0
    assert len(open_run(out)[0].history) == 3
    assert train(*CHAIN, "--epochs", "3", "--out", old / "run-chain", "--resume") == 2
    said = capsys.readouterr().err
    assert "epochs cannot become 3" in said and "'modality-dropout+ogm-ge' has read" in said


def test_a_comparison_is_extended(old: Path) -> None:
    words = ["compare", "digits", "--epochs", "1", "--width", "4", "--quiet", "--jobs", "1"]
    words += ["--out", str(old / "compare"), "--methods", "joint,multi-loss", "--seeds", "2"]
    before = (old / "compare" / "records.jsonl").read_text()
    assert main(words) == 0
    after = (old / "compare" / "records.jsonl").read_text()
    assert after.startswith(before)  # what was there was not trained again
    done = records.done(records.read(old / "compare" / "records.jsonl"))
    assert {(m, s) for _, m, s in done} == {
        ("joint", 0), ("mla", 0), ("joint", 1), ("multi-loss", 0), ("multi-loss", 1)
    }  # fmt: skip
