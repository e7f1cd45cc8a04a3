"""Commands under ``torchrun``: two ranks train what one does, and end together with one line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from torch.testing import assert_close

from counterpoise.cli.main import main

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
TRAIN = ["train", "digits", "--batch-size", "64"]
LAST = 240.0  # seconds after which a test has failed; nothing is measured by it
# What torchrun says itself, and the lines of progress.
THEIRS = re.compile(r"[EWI]\d{4} |epoch \d|joint: \d|\*+$|Setting OMP_NUM_THREADS")


def launch(words: list[str], *options: str) -> subprocess.Popen[str]:
    command = [*TORCHRUN, *options, "-m", "counterpoise", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """Exit status, output, and the lines on standard error that are ours."""
    try:
        out, errors = process.communicate(timeout=LAST)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    ours = errors.partition("Traceback (most recent call last):\n  File")[0]
    assert "Connection closed" not in errors, errors
    return process.returncode, out, [x for x in ours.splitlines() if x and not THEIRS.match(x)]


def find_ranks(launcher: int) -> dict[str, int]:
    """Rank -> process, of the children of a launcher."""
    found = {}
    for child in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        said = Path(f"/proc/{child}/environ").read_bytes().decode().split("\0")
        found |= {word[5:]: int(child) for word in said if word.startswith("RANK=")}
    return found


def wait_for(path: Path, epochs: int, process: subprocess.Popen[str]) -> None:
    """Wait until a run has trained so many epochs."""
    import torch

    until = time.monotonic() + LAST
    while time.monotonic() < until and process.poll() is None:
        if (path / "checkpoint.pt").exists():
            saved = torch.load(path / "checkpoint.pt", weights_only=True)
            if len(json.loads(saved["history"])) >= epochs:
                return
        time.sleep(0.05)
    raise AssertionError(f"no {epochs} epochs: {process.communicate(timeout=9)}")


def test_a_timeout_out_of_bounds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--rank-timeout", "0"]) == 2
    assert "--rank-timeout must be a number from 1 to 86400" in capsys.readouterr().err


def test_a_wrong_launcher_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "7", "WORLD_SIZE": "2", "MASTER_ADDR": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "1")
    assert main(["methods"]) == 2
    assert "RANK must be a whole number from 0 to 1, found '7'" in capsys.readouterr().err


def write_vectors(folder: Path) -> Path:
    """A file of two modalities of vectors, whose encoders have no BatchNorm."""
    generator = np.random.default_rng(0)
    target = np.arange(330) % 3
    first, second = generator.normal(size=(330, 6)), generator.normal(size=(330, 5))
    path = folder / "vectors.npz"
    np.savez(path, a=first + target[:, None], b=second - target[:, None], target=target)
    return path


@pytest.mark.slow
def test_two_ranks_train_what_one_does(tmp_path: Path) -> None:
    words = ["train", str(write_vectors(tmp_path)), "--batch-size", "64", "--epochs", "3"]
    status, out, lines = finish(launch([*words, "--out", str(tmp_path / "two")]))
    assert status == 0 and "counterpoise: error" not in " ".join(lines), lines
    assert sorted(set(lines)) == sorted(lines), "each note is printed once"
    assert out.count("best validation epoch") == 1
    assert main([*words, "--quiet", "--out", str(tmp_path / "one")]) == 0
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("one", "two"))
    for name, tensor in one.items():
        assert_close(two[name], tensor, rtol=1e-5, atol=1e-5)
    validation = [
        load_file(tmp_path / name / "validation-last.safetensors") for name in ("one", "two")
    ]
    assert_close(validation[1]["logits"], validation[0]["logits"], rtol=1e-4, atol=1e-4)
    # The folder is held: one line, once, and nobody waits.
    status, _, lines = finish(launch([*words, "--out", str(tmp_path / "two")]))
    held = [line for line in lines if "holds this run already" in line]
    assert status == 1 and len(held) == 1, lines
    status, out, lines = finish(launch(["evaluate", str(tmp_path / "one"), "--json"]))
    assert (status, lines) == (0, [])
    both = json.loads(out)["subsets"]
    plain = [sys.executable, "-m", "counterpoise", "evaluate", str(tmp_path / "one"), "--json"]
    alone = json.loads(subprocess.check_output(plain, text=True))["subsets"]
    assert both.keys() == alone.keys()
    for subset, values in alone.items():
        assert both[subset] == pytest.approx(values, rel=1e-6), subset


@pytest.mark.slow
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_killed_rank_ends_all_and_a_restart_changes_nothing(tmp_path: Path, rank: str) -> None:
    words = [*TRAIN, "--epochs", "4", "--rank-timeout", "20", "--out"]
    process = launch([*words, str(tmp_path / "killed")], "--max-restarts", "1")
    wait_for(tmp_path / "killed", 1, process)
    victim = find_ranks(process.pid)[rank]
    os.kill(victim, signal.SIGKILL)
    status, _, lines = finish(process)
    assert status == 0, lines
    named = [line for line in lines if f"rank {rank} of 2 (" in line]
    assert len(lines) == len(named) == 1 and f"process {victim}) was killed" in named[0], lines
    assert finish(launch([*words, str(tmp_path / "whole")]))[0] == 0
    killed, whole = (tmp_path / name / "last.safetensors" for name in ("killed", "whole"))
    assert killed.read_bytes() == whole.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "whom", "said"),
    [
        (signal.SIGSTOP, "1", "rank 1 of 2 (.*) has not been heard of for"),
        (signal.SIGTERM, "launcher", "^counterpoise: stopped; the same command with --resume"),
        (signal.SIGINT, "launcher", "^counterpoise: stopped; the same command with --resume"),
    ],
)
def test_signals_end_all_ranks_with_one_line(
    tmp_path: Path, number: signal.Signals, whom: str, said: str
) -> None:
    words = [*TRAIN, "--epochs", "1000", "--rank-timeout", "5", "--out", str(tmp_path / "run")]
    process = launch(words)
    wait_for(tmp_path / "run", 1, process)
    ranks = find_ranks(process.pid)
    os.kill(ranks.get(whom, process.pid), number)
    status, _, lines = finish(process)
    assert status != 0
    assert len(lines) == 1 and re.search(said, lines[0]), lines
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks.values())


@pytest.mark.slow
def test_other_commands_are_refused_or_answered_once(tmp_path: Path) -> None:
    for words in (["compare", "digits"], ["report", str(tmp_path)]):
        status, _, lines = finish(launch(words))
        assert status == 1 and len(lines) == 1, lines
        assert f"{words[0]} is the work of one process" in lines[0]
    for words in (["methods"], ["--version"]):
        status, out, lines = finish(launch(words))
        alone = subprocess.check_output([sys.executable, "-m", "counterpoise", *words], text=True)
        assert (status, out, lines) == (0, alone, [])


BAD = """
import os, sys
from counterpoise.cli.main import main
from counterpoise.engine.callback import Callback
from counterpoise.errors import InputError
import counterpoise.compare.recipe as recipe

fit = recipe.fit
class Fail(Callback):
    def on_batch(self, number):
        if os.environ["RANK"] == "1" and number == 3:
            raise {error}

recipe.fit = lambda *a, callbacks, **o: fit(*a, callbacks=[*callbacks, Fail()], **o)
main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("error", ["InputError('of one rank')", "KeyError('of one rank')"])
def test_an_error_of_one_rank_ends_all(tmp_path: Path, error: str) -> None:
    (tmp_path / "bad.py").write_text(BAD.format(error=error))
    words = [str(tmp_path / "bad.py"), *TRAIN, "--epochs", "1", "--out", str(tmp_path / "run")]
    pipe = subprocess.PIPE
    process = subprocess.run(
        [*TORCHRUN, *words], stdout=pipe, stderr=pipe, text=True, timeout=LAST, check=False
    )
    errors = process.stderr
    assert (
        process.returncode == 1
        and errors.count(": of one rank") + errors.count("KeyError: 'of") == 1
    ), errors
    if "Input" in error:
        assert "counterpoise: error: of one rank\n" in errors and "exitcode  : 2" in errors
    assert "lost each other" not in errors and "was killed" not in errors
