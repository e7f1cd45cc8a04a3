"""Files with one flipped bit, of every kind that a run, a comparison and a cache leave."""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each
from toy import same, toy_data, toy_model

from counterpoise import InputError, fit
from counterpoise.cli.main import main
from counterpoise.core import storage
from counterpoise.data import open_cache
from counterpoise.data.preparation.verify import verify
from counterpoise.report import records, write_report
from counterpoise.report.folder import comparison_folder
from counterpoise.training.folder import open_checkpoint
from counterpoise.training.record import RunRecord
from counterpoise.training.run import Run, open_run

FLIPS = 100
RUN = ("run.json", "checkpoint.pt", "best.safetensors", "last.safetensors")
RUN += ("validation-last.safetensors", "validation-best.safetensors")


def cli(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, a comparison and prepared data, small."""
    folder = tmp_path_factory.mktemp("flips")
    draw = np.random.default_rng(0)
    lines = [
        f"{k},{'ab'[k % 2]},{draw.normal()},{draw.normal()} {draw.normal()}" for k in range(60)
    ]
    (folder / "t.csv").write_text("\n".join(["id,target,x,y", *lines]) + "\n")
    fast = ["--epochs", 2, "--width", 4, "--quiet"]
    assert cli("prepare", folder / "t.csv", folder / "cache", "--quiet") == 0
    assert cli("train", folder / "cache", "--out", folder / "run", *fast) == 0
    many = ["--methods", "joint", "--seeds", 1, "--out", folder / "many"]
    assert cli("compare", folder / "cache", *many, *fast) == 0
    return folder


def flip(path: Path, whole: bytes, place: int) -> None:
    spoilt = bytearray(whole)
    spoilt[place // 8] ^= 1 << place % 8
    path.write_bytes(bytes(spoilt))


def read_run(folder: Path) -> object:
    """What opening a run, going on with it and evaluating it do first."""
    return open_checkpoint(RunRecord.read(folder))


def read_comparison(folder: Path) -> object:
    """What going on with a comparison and reporting on it do first."""
    comparison_folder(folder).read()
    lines = records.read(folder / "records.jsonl")
    return lines, records.read(folder / "samples.jsonl")


def train_epoch(folder: Path) -> object:
    """What training on prepared data reads, and evaluating."""
    data = open_cache(folder)
    return [split[torch.arange(len(split))] for split in data.splits.values()]


CASES: list[tuple[str, str, Callable[[Path], object]]] = [
    *(("run", name, read_run) for name in RUN),
    *(("many", name, read_comparison) for name in ("compare.json", "records.jsonl")),
    ("many", "samples.jsonl", read_comparison),
    *(("many/runs/joint/seed-0", name, read_run) for name in RUN),
    ("cache", "dataset.json", train_epoch),
    ("cache", "train-00000.arrow", train_epoch),
    ("cache", "test-00000.arrow", train_epoch),
    *(("cache", name, verify) for name in ("plan.json", "train-00000.json", "dataset.json")),
    ("cache", "validation-00000.arrow", verify),
]


@pytest.mark.slow
def test_each_of_a_hundred_flips_is_noticed(made: Path, tmp_path: Path) -> None:
    noticed = {}

    def check(folder: str, name: str, read: Callable[[Path], object]) -> None:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(made / folder, copy)
        read(copy)
        path = copy / name
        whole, draw = path.read_bytes(), random.Random(f"{folder} {name}")
        missed = []
        for place in (draw.randrange(8 * len(whole)) for _ in range(FLIPS)):
            flip(path, whole, place)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(copy)
                missed.append(place)
            except InputError as error:
                assert name.split(".")[0] in str(error), str(error)
        noticed[folder, name, read.__name__] = FLIPS - len(missed)
        assert not missed, f"{len(missed)} of {FLIPS} were not noticed, at bits {missed[:5]}"

    check_each(CASES, check)
    print(sum(noticed.values()), "of", FLIPS * len(CASES), "noticed")


COMMANDS: list[tuple[str, str, list[str]]] = [
    *(("run", name, ["evaluate", "RUN"]) for name in RUN),
    *(("run", name, ["train", "DATA", "--out", "RUN", "--resume"]) for name in RUN),
    *(("run", name, ["pack", "RUN", "OUT"]) for name in RUN),
    *(("many", name, ["report", "RUN"]) for name in ("compare.json", "records.jsonl")),
    ("many", "samples.jsonl", ["report", "RUN"]),
    (
        "many",
        "records.jsonl",
        ["compare", "DATA", "--methods", "joint", "--seeds", "1", "--out", "RUN"],
    ),
    ("cache", "train-00000.arrow", ["train", "RUN", "--out", "OUT"]),
    ("cache", "dataset.json", ["train", "RUN", "--out", "OUT"]),
    ("cache", "train-00000.arrow", ["prepare", "RUN", "--verify"]),
]


def test_commands_say_which_file_is_damaged(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(number: int, folder: str, name: str, words: list[str]) -> None:
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(made / folder, copy)
        path = copy / name
        flip(path, path.read_bytes(), 8 * (path.stat().st_size // 2) + 1)
        places = {"RUN": copy, "OUT": tmp_path / f"out-{number}", "DATA": made / "cache"}
        train = ["--epochs", 2, "--width", 4] if words[0] in ("train", "compare") else []
        capsys.readouterr()
        assert cli(*(places.get(word, word) for word in words), *train) == 2
        lines = capsys.readouterr().err.splitlines()
        assert name in lines[-1] and "damaged" in lines[-1], lines

    check_each([(k, *case) for k, case in enumerate(COMMANDS)], check)


def test_a_file_of_another_run_is_refused(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "run", tmp_path / "run")
    other = made / "many" / "runs" / "joint" / "seed-0"
    words = ["train", made / "cache", "--out", tmp_path / "other", "--seed", "7", "--epochs", "1"]
    assert cli(*words, "--width", 4, "--quiet") == 0
    for name in ("best.safetensors", "last.safetensors", "validation-last.safetensors"):
        kept = (tmp_path / "run" / name).read_bytes()
        shutil.copy(tmp_path / "other" / name, tmp_path / "run" / name)
        with pytest.raises(InputError, match=f"{name} is of another run; delete it, and the same"):
            open_run(tmp_path / "run")
        (tmp_path / "run" / name).write_bytes(kept)
    assert read_run(other) and read_run(tmp_path / "run")


def test_deleted_weights_are_written_again(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "run", tmp_path / "run")
    names = ("best.safetensors", "last.safetensors", "validation-last.safetensors")
    whole = {name: (tmp_path / "run" / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / "run" / name).unlink()
    words = ["train", made / "cache", "--out", tmp_path / "run", "--epochs", 2, "--width", 4]
    assert cli(*words, "--resume", "--quiet") == 0
    assert {name: (tmp_path / "run" / name).read_bytes() for name in names} == whole


def test_a_damaged_comparison_is_written_again_from_its_runs(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "many", tmp_path / "many")
    before = records.read(tmp_path / "many" / "records.jsonl")
    (tmp_path / "many" / "records.jsonl").unlink()
    words = ["compare", made / "cache", "--methods", "joint", "--seeds", 1]
    assert cli(*words, "--out", tmp_path / "many", "--epochs", 2, "--width", 4, "--quiet") == 0
    assert records.read(tmp_path / "many" / "records.jsonl") == before
    assert write_report(tmp_path / "many").exists()


def test_weights_for_users_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    """Also where another epoch became the best, and where a kill left those of a later one."""
    data = toy_data(noise=3.0)

    def check(run: Run) -> None:
        for name, wanted in (("best", run.best_weights[0]), ("last", run.model.state_dict())):
            found = storage.read_weights(tmp_path / f"{name}.safetensors")
            assert same(found, wanted), name

    options: dict[str, Any] = {"lr": 0.3, "batch_size": 16, "out": tmp_path}
    first = fit(toy_model(data), data, epochs=1, **options)
    check(first)
    again = fit(toy_model(data), data, epochs=8, resume=True, **options)
    assert again.best_epoch > 0
    check(again)
    later = {name: tensor + 1 for name, tensor in again.best_weights[0].items()}
    about = {"epoch": "9", "run": RunRecord.read(tmp_path).key()}
    storage.write_weights(tmp_path / "best.safetensors", later, about)
    check(fit(toy_model(data), data, epochs=8, resume=True, **options))
