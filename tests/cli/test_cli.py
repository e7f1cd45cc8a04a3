"""The command line as a user meets it: what it prints, where it stops, what it leaves behind."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from counterpoise.cli.main import main
from counterpoise.core import storage
from counterpoise.methods import METHODS
from counterpoise.report import records

FAST = ["--epochs", "1", "--width", "16"]


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """A process that ignores Ctrl-C, as one in a shell's background does, hands that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def cli(*words: object) -> int:
    return main([str(word) for word in words])


def error_of(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a wrong command prints."""
    assert cli(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("counterpoise: error: ")
    assert err.count("\n") == 1, err
    return err


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of mla on digits beside a unimodal one; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("mla", "unimodal"):
        assert (
            cli("train", "digits", "--method", method, *FAST, "--out", folder / method, "--quiet")
            == 0
        )
    return folder


class TestLists:
    def test_methods(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli("methods") == 0
        out = capsys.readouterr().out
        assert all(name in out for name in METHODS)

    def test_methods_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli("methods", "--json") == 0
        cards = {card["name"]: card for card in json.loads(capsys.readouterr().out)}
        assert list(cards) == list(METHODS)
        assert cards["mla"]["options"]["projector"] == "on"
        assert cards["mla"]["fusions"] == ["shared"]

    def test_data_says_what_is_there(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        assert cli("data", "--json", "--data-dir", tmp_path) == 0
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
        assert rows["digits"]["available"]
        assert not rows["utd-mhad"]["available"]
        assert "utd_mhad" in rows["utd-mhad"]["state"]

    def test_version_and_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        for words, text in (
            (["--version"], "counterpoise 0"),
            (["--help"], "COMMAND"),
            ([], "COMMAND"),
            (["train", "--help"], "--label-smoothing"),
        ):
            with pytest.raises(SystemExit) as stop:
                cli(*words)
            assert stop.value.code == 0
            assert text in capsys.readouterr().out


class TestTrainAndEvaluate:
    def test_a_run_is_a_folder_of_safe_files(self, run_folder: Path) -> None:
        run = run_folder / "mla"
        names = {path.name for path in run.iterdir()}
        kept = {"best.safetensors", "validation-best.safetensors"}
        kept |= {"last.safetensors", "validation-last.safetensors"}
        assert names == {"run.json", "checkpoint.pt", *kept}
        assert torch.load(run / "checkpoint.pt", weights_only=True)["best_epoch"] == 0
        assert "fusion.head.weight" in load_file(run / "last.safetensors")

    def test_train_ends_with_a_table(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        assert cli("train", "digits", *FAST, "--out", tmp_path / "r") == 0
        out = capsys.readouterr().out
        assert "image + audio" in out
        assert "accuracy" in out

    def test_quiet_says_nothing(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert cli("train", "digits", *FAST, "--quiet", "--out", tmp_path / "r") == 0
        assert capsys.readouterr() == ("", "")

    def test_evaluate_finds_the_unimodal_run_beside_it(
        self, capsys: pytest.CaptureFixture[str], run_folder: Path
    ) -> None:
        assert cli("evaluate", run_folder / "mla", "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert set(found["subsets"]) == {"audio+image", "audio", "image"}
        assert [v["modality"] for v in found["colearning"]] == ["image", "audio"]
        assert {v["verdict"] for v in found["colearning"]} <= {"positive", "negative", "undecided"}

    def test_evaluate_without_a_reference_says_so(
        self, capsys: pytest.CaptureFixture[str], run_folder: Path, tmp_path: Path
    ) -> None:
        alone = tmp_path / "a" / "b" / "mla"
        shutil.copytree(run_folder / "mla", alone)
        assert cli("evaluate", alone) == 0
        assert "--against RUN" in capsys.readouterr().out
        assert cli("evaluate", alone, "--against", run_folder / "unimodal", "--which", "best") == 0
        assert "co-learning, against" in capsys.readouterr().out
        assert cli("evaluate", alone, "--against", run_folder / "mla") == 2
        assert "must be a run of the method unimodal, found mla" in capsys.readouterr().err

    def test_one_modality(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert cli("train", "digits", "--modalities", "audio", *FAST, "--out", tmp_path / "r") == 0
        assert "image" not in capsys.readouterr().out

    def test_config_file_and_flags_that_win(self, tmp_path: Path) -> None:
        config = tmp_path / "c.yaml"
        config.write_text(
            "data: digits\nmethod: modality-dropout\nepochs: 7\nbatch-size: 64\nquiet: true\n"
            "modalities: [image, audio]\nset: {granularity: sample, rates: {audio: 0.5}}\n"
        )
        out = tmp_path / "r"
        assert cli("train", "--config", config, *FAST, "--out", out) == 0
        record = json.loads((out / "run.json").read_text())
        assert record["epochs"] == 1
        identity = record["identity"]
        assert identity["settings"]["batch_size"] == 64
        assert identity["method"]["options"]["granularity"] == "sample"
        assert identity["method"]["options"]["rates"] == {"audio": 0.5}

    def test_bf16(self, tmp_path: Path) -> None:
        words = ("train", "digits", *FAST, "--precision", "bf16", "--quiet")
        assert cli(*words, "--out", tmp_path / "r") == 0


class TestCompare:
    def test_records_summary_report_and_skipping(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        out = tmp_path / "c"
        words = ["compare", "digits", "--methods", "joint,unimodal", *FAST, "--out", out]
        assert cli(*words, "--seeds", 1) == 0
        assert "joint" in capsys.readouterr().out
        before = (out / "records.jsonl").read_bytes()
        assert cli(*words, "--seeds", 2, "--jobs", 2) == 0
        after = (out / "records.jsonl").read_bytes()
        assert after.startswith(before), "records are append-only"
        lines = [json.loads(line) for line in after.splitlines()]
        keys = {"data", "method", "seed", "epoch", "split", "present", "metric", "value"}
        assert all(keys <= set(line) for line in lines)
        done = [(x["method"], x["seed"]) for x in lines if x["metric"] == "done"]
        assert sorted(done) == [(m, s) for m in ("joint", "unimodal") for s in (0, 1)]
        assert {x["present"] for x in lines} == {"audio+image", "audio", "image"}
        assert "mean" in (out / "summary.csv").read_text().splitlines()[0]
        page = (out / "report.html").read_text()
        assert "<svg" in page
        assert "unimodal" in page
        (out / "report.html").unlink()
        assert cli("report", out, "--quiet") == 0
        assert (out / "report.html").read_text() == page

    @pytest.mark.slow
    def test_jobs_do_not_change_a_number(self, tmp_path: Path) -> None:
        values = []
        for jobs in (1, 2):
            out = tmp_path / str(jobs)
            words = ("compare", "digits", "--methods", "joint,mla", "--seeds", 1, "--jobs", jobs)
            assert cli(*words, *FAST, "--out", out, "--quiet") == 0
            found = records.read(out / "records.jsonl")
            lines = [r for r in found if r["metric"] not in ("seconds", "processor")]
            values.append(sorted(json.dumps(line, sort_keys=True) for line in lines))
        assert values[0] == values[1]

    def test_options_of_one_method(self, tmp_path: Path) -> None:
        out = tmp_path / "c"
        words = ("compare", "digits", "--methods", "mla,mla:projector=off", "--seeds", 1)
        assert cli(*words, *FAST, "--set", "mla.order=shuffle", "--out", out, "--quiet") == 0
        found = {r["method"] for r in records.read(out / "records.jsonl")}
        assert found == {"mla:order=shuffle", "mla:projector=off:order=shuffle"}


class TestBadInput:
    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["trian"], "did you mean 'train'?"),
            (["--quiet"], "a command is needed: methods, data,"),
            (["train"], "DATA is needed"),
            (["train", "digit"], "unknown data set 'digit'; did you mean 'digits'?"),
            (["train", "digits", "--method", "mlaa"], "unknown method 'mlaa'; did you mean 'mla'?"),
            (["train", "digits", "--method", "mla", "--set", "projecter=on"], "'projector'?"),
            (["train", "digits", "--method", "mla", "--set", "projector=of"], "'off'?"),
            (["train", "digits", "--set", "oops"], "key=value, found 'oops'"),
            (
                ["train", "digits", "--method", "multi-loss", "--set", "weight=heavy"],
                "weight must be a number from 0, found 'heavy'",
            ),
            (["train", "digits", "--modalities", "imag"], "did you mean 'image'?"),
            (["train", "digits", "--fusion", "concatt"], "did you mean 'concat'?"),
            (
                ["train", "digits", "--method", "mla", "--fusion", "concat"],
                "trains a Shared fusion",
            ),
            (["train", "digits", "--epocs", "3"], "did you mean '--epochs'?"),
            (["train", "digits", "--epochs", "0"], "epochs must be a whole number from 1, found 0"),
            (["train", "digits", "--epochs", "x"], "invalid int value: 'x'"),
            (["train", "digits", "--lr", "-1"], "lr must be a number from 0, found -1"),
            (["train", "digits", "--optimizer", "sdg"], "did you mean 'sgd'?"),
            (["train", "digits", "--schedule", "steps"], "did you mean 'step'?"),
            (["train", "digits", "--encoder-lr", "audio=x"], "must read MODALITY=FACTOR"),
            (["train", "digits", "--encoder-lr", "audio=-1"], "encoder_lr['audio'] must be a"),
            (["train", "digits", "--class-weights", "no.yaml"], "found 'no.yaml'"),
            (["train", "digits", "--device", "cuda:9"], "device 'cuda:9' cannot be used here"),
            (["train", "digits", "--precision", "fp8"], "fp8"),
            (["compare", "digits", "--methods", "joint,mla2"], "did you mean 'mla'?"),
            (["compare", "digits", "--methods", ""], "methods: must name one at least"),
            (["compare", "digits", "--methods", "joint,joint"], "must differ"),
            (
                ["compare", "digits", "--seeds", "0"],
                "--seeds must be a whole number from 1 to 100000, found 0",
            ),
            (["compare", "digits", "--set", "mlb.order=shuffle"], "did you mean 'mla'?"),
            (["train", "digits", "--config", "no.yaml"], "no.yaml is not there"),
            (["evaluate", "nowhere"], "run.json is not there"),
            (["report", "nowhere"], "nowhere"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else "",
    )
    def test_one_line_and_status_2(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        words: list[str],
        said: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert said in error_of(capsys, *words)
        assert not any(tmp_path.iterdir()), "a refused command leaves nothing behind"

    def test_a_data_set_that_is_not_there_says_what_to_put_where(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        said = error_of(capsys, "train", "utd-mhad", "--data-dir", tmp_path)
        assert "put the folders Skeleton and Inertial" in said
        assert "COUNTERPOISE_DATA" in said

    def test_unknown_key_in_a_config(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        config = tmp_path / "c.yaml"
        config.write_text("epoch: 3\n")
        assert "did you mean 'epochs'?" in error_of(capsys, "train", "--config", config)
        config.write_text("- 1\n")
        assert "key: value" in error_of(capsys, "train", "--config", config)
        config.write_text("a: [")
        assert "cannot be read" in error_of(capsys, "train", "--config", config)

    def test_a_folder_with_other_settings(
        self, capsys: pytest.CaptureFixture[str], run_folder: Path
    ) -> None:
        words = ("train", "digits", "--method", "mla", "--width", 16, "--out", run_folder / "mla")
        before = (run_folder / "mla" / "checkpoint.pt").read_bytes()
        said = error_of(capsys, *words, "--epochs", 1, "--lr", 0.5, "--resume")
        assert "settings.lr is 0.01 there and 0.5 here" in said
        assert "resume it" in error_of(capsys, *words, "--epochs", 1)
        assert (run_folder / "mla" / "checkpoint.pt").read_bytes() == before

    def test_a_comparison_with_other_settings(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        words = ("compare", "digits", "--methods", "joint", "--seeds", 1, "--out", tmp_path / "c")
        assert cli(*words, *FAST, "--quiet") == 0
        assert "settings.lr is 0.01 there and 0.5 here" in error_of(
            capsys, *words, *FAST, "--lr", 0.5
        )
        longer = error_of(capsys, *words, "--width", 16, "--epochs", 2)
        assert "settings.epochs is 1 there and 2 here; choose another folder" in longer

    def test_a_folder_of_something_else(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        (tmp_path / "holiday.jpg").write_text("x")
        said = error_of(capsys, "train", "digits", *FAST, "--out", tmp_path)
        assert "is not empty and holds no run" in said
        assert (tmp_path / "holiday.jpg").read_text() == "x"

    @pytest.mark.parametrize("name", ["checkpoint.pt", "run.json"])
    @pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 rubbish", b"\x80\x04cos\nsystem\n."])
    def test_a_corrupt_file(
        self,
        capsys: pytest.CaptureFixture[str],
        run_folder: Path,
        tmp_path: Path,
        name: str,
        damage: bytes,
    ) -> None:
        shutil.copytree(run_folder / "mla", tmp_path / "mla")
        (tmp_path / "mla" / name).write_bytes(damage)
        assert f"{name} is damaged" in error_of(capsys, "evaluate", tmp_path / "mla")

    def test_half_a_checkpoint(
        self, capsys: pytest.CaptureFixture[str], run_folder: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(run_folder / "mla", tmp_path / "mla")
        path = tmp_path / "mla" / "checkpoint.pt"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert "is damaged" in error_of(capsys, "evaluate", tmp_path / "mla")

    def test_a_full_disk_loses_nothing(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        out = tmp_path / "r"
        words = ["train", "digits", "--width", "16", "--epochs", "3", "--quiet", "--out", str(out)]
        original, calls = os.fsync, []

        def fsync(file: int) -> None:
            calls.append(file)
            if len(calls) > 4:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            original(file)

        monkeypatch.setattr(os, "fsync", fsync)
        assert "the disk is full" in error_of(capsys, *words)
        monkeypatch.setattr(os, "fsync", original)
        assert not any(storage.is_draft(path) for path in out.iterdir())
        assert cli(*words, "--resume") == 0
        assert cli(*words[:-1], tmp_path / "whole") == 0
        assert _weights(out) == _weights(tmp_path / "whole")


def _weights(folder: Path) -> bytes:
    return (folder / "last.safetensors").read_bytes()


@pytest.mark.slow
class TestKill:
    WORDS = (
        *("train", "digits", "--method", "diagnose-relearn", "--set", "every=1"),
        *("--width", "16", "--quiet", "--epochs", "6"),
    )
    # So many epochs that it cannot end before the signal, however busy the machine is.
    LONG = (*WORDS[:-1], "60")

    def start(self, out: Path, *more: str, words: tuple[str, ...] = WORDS) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "counterpoise", *words, "--out", str(out), *more]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def test_killed_again_and_again_ends_with_the_same_weights(self, tmp_path: Path) -> None:
        assert main([*self.WORDS, "--out", str(tmp_path / "whole")]) == 0
        out, kills = tmp_path / "killed", 0
        while not (out / "last.safetensors").exists():
            worker = self.start(out, "--resume")
            mark = out / "checkpoint.pt"
            stamp = mark.stat().st_mtime_ns if mark.exists() else None
            deadline = time.monotonic() + 300
            while worker.poll() is None and time.monotonic() < deadline:
                now = mark.stat().st_mtime_ns if mark.exists() else None
                if now != stamp and kills < 3:  # an epoch more is on disk: kill in the next one
                    time.sleep(0.05 * kills)
                    worker.send_signal(signal.SIGKILL)
                    kills += 1
                    break
                time.sleep(0.01)
            _, err = worker.communicate(timeout=300)
            assert worker.returncode in (0, -signal.SIGKILL), err
        assert kills == 3
        assert _weights(out) == _weights(tmp_path / "whole")

    def test_ctrl_c_leaves_a_run_that_resumes(self, tmp_path: Path) -> None:
        out = tmp_path / "r"
        worker = self.start(out, words=self.LONG)
        deadline = time.monotonic() + 300
        while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        worker.send_signal(signal.SIGINT)
        _, err = worker.communicate(timeout=300)
        assert worker.returncode == 130
        assert err.count("\n") == 1
        assert "the same command with --resume goes on" in err
        assert main([*self.LONG, "--out", str(out), "--resume"]) == 0


@pytest.mark.slow
def test_interrupting_a_parallel_comparison_leaves_no_process(tmp_path: Path) -> None:
    out = tmp_path / "c"
    words = [
        *("compare", "digits", "--methods", "joint,mla", "--seeds", "2", "--epochs", "300"),
        *("--jobs", "2", "--quiet"),
    ]
    worker = subprocess.Popen(
        [sys.executable, "-m", "counterpoise", *words, "--out", str(out)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not list(out.glob("runs/*/*/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(worker.pid, signal.SIGINT)
    _, err = worker.communicate(timeout=300)
    assert worker.returncode == 130, err
    deadline = time.monotonic() + 20
    with pytest.raises(ProcessLookupError):  # multiprocessing's own helper takes a moment to go
        while time.monotonic() < deadline:
            os.killpg(worker.pid, 0)
            time.sleep(0.1)


def test_output_to_a_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m counterpoise methods --json | head -1"
    done: Any = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
