"""What is printed: names as they are written, on any terminal, and how far long work is."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from folded import check_each

from counterpoise.cli import output, progress
from counterpoise.cli.main import main
from counterpoise.core.workers import run_jobs

NAMES = ("temp[/C]", "acc [m/s2]", "Größe.€λ")
CLASSES = ("κlass [a]", "[/b]", ":smile:")
FAST = ("--epochs", "2", "--width", "8")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of three modalities in a folder of its own, which is the working folder."""
    target = np.arange(90) % 3
    draw = np.random.default_rng(0).normal
    inputs = {m: target[:, None] + draw(size=(90, 3)) for m in NAMES}
    np.savez(tmp_path / "own.npz", target=np.array(CLASSES)[target], **inputs)  # type: ignore[arg-type]  # any keyword is an array
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own.npz"


COMMANDS = (
    ("prepare", "own.npz", "data"),
    ("train", "data", "--out", "run", *FAST, "--encoder", f"{NAMES[2]}=mlp"),
    ("train", "data", "--out", "alone", *FAST, "--method", "unimodal"),
    ("evaluate", "run", "--against", "alone"),
    ("evaluate", "run", "--json"),
    ("compare", "own.npz", "--methods", "joint", "--seeds", "1", "--out", "all", *FAST),
    ("report", "all"),
    ("methods",),
    ("methods", "mla"),
    ("data",),
    ("data", "digits"),
)


def test_names_are_printed_as_they_are_written(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in COMMANDS:
        assert main(list(words)) == 0
        out, err = capsys.readouterr()
        shown = [json.dumps(m)[1:-1] for m in NAMES] if "--json" in words else NAMES
        if words[0] not in ("methods", "data"):
            assert all(m in out for m in shown), words
        if words[0] == "prepare":
            assert all(m in err for m in NAMES)
    assert main(["train", "data", "--modalities", "temp[/D]"]) == 2
    assert "unknown modality 'temp[/D]'; did you mean 'temp[/C]'?" in capsys.readouterr().err


def test_a_dot_in_a_name_is_no_end_of_it(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{k},{'ab'[k % 2]},{k} {k + 1}" for k in range(40)]
    Path("t.csv").write_text("\n".join(["id,target,acc.x", *lines]))
    words = ("prepare", "t.csv", "t", "--set", "acc.x.length=1", "--quiet")
    assert main(list(words)) == 2  # no option of numbers, and the column is known
    assert "acc.x (numbers)" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp1252", marks=pytest.mark.slow)])
def test_a_terminal_prints_what_it_can(
    own: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    for words in COMMANDS:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        assert main(list(words)) == 0
        for stream in streams:
            stream.flush()
        text = streams[0].buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]  # a BytesIO
        if words[0] in ("prepare", "train", "report"):
            known = NAMES[2].encode(encoding, "replace").decode(encoding)
            assert known in text and "acc [m/s2]" in text, words


@pytest.mark.slow
def test_a_real_process_that_knows_ascii_only(own: Path) -> None:
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C", "PATH": ""}
    words = [sys.executable, "-m", "counterpoise", "train", "own.npz", *FAST]
    paths = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(words, capture_output=True, env=environment | paths, check=True)
    assert b"Gr??e.??" in done.stdout


def test_a_handler_that_the_user_chose_stays(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["train", "own.npz", *FAST]) == 0
    stream.flush()
    assert rb"\u03bb" in stream.buffer.getvalue()  # type: ignore[attr-defined]  # a BytesIO


def test_train_prints_a_line_an_epoch_and_compare_one_a_run(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "own.npz", *FAST]) == 0
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("epoch ")]
    form = r"epoch {} \({} of 2\), \d+\.\d s: loss fused \d.*, validation accuracy \d\.\d\d\d"
    assert all(re.fullmatch(form.format(k, k + 1), line) for k, line in enumerate(lines))
    assert len(lines) == 2
    words = ["compare", "own.npz", "--methods", "joint,mla", "--seeds", "2", "--out", "all", *FAST]
    assert main(words) == 0
    lines = [x for x in capsys.readouterr().err.splitlines() if ", seed " in x]
    assert [line.split(":")[0] for line in lines] == [
        f"{method}, seed {seed}" for seed in (0, 1) for method in ("joint", "mla")
    ]
    assert all(re.search(r": 2 epochs, \d+\.\d s, test accuracy \d\.\d", line) for line in lines)
    assert main([*words, "--quiet"]) == 0 and main(["train", "own.npz", *FAST, "--quiet"]) == 2
    assert capsys.readouterr().err.count("\n") == 1  # the run is there already


def test_a_terminal_gets_a_bar_and_no_lines(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # alone, it is no terminal
    assert main(["train", "own.npz", "--out", "a", *FAST]) == 0
    assert "epoch 1 (2 of 2)" in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["train", "own.npz", "--out", "b", *FAST]) == 0
    err = capsys.readouterr().err
    assert "epoch 1" not in err and "joint, validation accuracy" in err


def test_long_work_prints_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for quiet in (False, True):
        with progress.show_progress(quiet) as meter:
            meter.start("decoding", 100)
            for _ in range(100):
                now[0] += 0.3
                meter.advance()
        lines = capsys.readouterr().err.splitlines()
        assert lines == ([] if quiet else [f"decoding: {k} of 100" for k in (34, 68)]), lines


def test_the_same_warning_is_printed_once_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        output.forget_warnings()
        for text in ("one", "two  lines\nof it", "one", UserWarning("one")):
            output.print_warning(text)
        assert capsys.readouterr().err.splitlines() == [
            "counterpoise: warning: one",
            "counterpoise: warning: two lines of it",
        ]


def _warn(text: str, job: int) -> int:
    warnings.warn(text, UserWarning, stacklevel=1)
    return job


@pytest.mark.slow
def test_what_workers_warn_of_reaches_the_process_that_asked() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        done = [result for _, result in run_jobs(partial(_warn, "odd"), [1, 2, 3], 2)]
    assert sorted(done) == [1, 2, 3]
    assert [(str(w.message), w.category) for w in caught] == [("odd", UserWarning)] * 3


def test_what_is_no_prepared_data_says_what_to_do(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("base.csv", "my table.tsv", "x.parquet", "x.jsonl", "notes.txt"):
        Path(name).write_text("id,target\n")
    Path("x").mkdir()
    prepare = "is a table; `counterpoise prepare {} {}` makes a folder from which training reads"
    cases = (
        ("base.csv", prepare.format("base.csv", "base") + ": `counterpoise train base`"),
        ("my table.tsv", prepare.format("'my table.tsv'", "'my table'")),
        ("x.parquet", prepare.format("x.parquet", "x-data")),
        ("x.jsonl", "`counterpoise train x-data`"),
        ("notes.txt", "notes.txt is neither a .npz file nor a table (.csv, "),
        ("gone.csv", "gone.csv is no folder of prepared data: it is not there"),
        ("x", "x holds no prepared data (dataset.json); `counterpoise prepare TABLE OUT` makes it"),
    )

    def check(name: str, said: str) -> None:
        for command in ("train", "compare"):
            assert main([command, name]) == 2
            err = capsys.readouterr().err
            assert said in err and err.count("\n") == 1, err

    check_each(cases, check)
    for name in ("base.csv", "x"):
        assert main(["evaluate", name]) == 2
        assert f"{name}/run.json is not there" in capsys.readouterr().err
    assert main(["evaluate", "x", "--against", "base.csv"]) == 2


def test_flags_that_say_nothing_clear(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_bytes(
        "epochs: 5\nwidth: 8\nencoder: {'acc [m/s2]': mlp, Größe.€λ: mlp}\n".encode()
    )
    cases = (
        (["--epochs", "1", "--epochs", "2"], "--epochs must be given once, found it 2 times"),
        (["--out=a", "--out", "b"], "--out must be given once, found it 2 times"),
        (["--seed", "-1"], "--seed must be a whole number from 0, found -1"),
    )
    for words, said in cases:
        for command in ("train", "compare"):
            assert main([command, "own.npz", *words]) == 2
            assert said in capsys.readouterr().err
    assert main(["prepare", "own.npz", "p", "--seed", "-1"]) == 2
    assert main(["train", "own.npz", "--config", "c.yaml", "--epochs", "1", "--quiet"]) == 0


def test_no_line_tells_to_install_a_package_that_is_not_published() -> None:
    root = Path(__file__).parents[2]
    places = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("src/**/*.py")]
    wrong = re.compile(r"pip install\s+(-U )?['\"]?counterpoise|counterpoise\[")
    assert [p for p in places if wrong.search(p.read_text(encoding="utf-8"))] == []
