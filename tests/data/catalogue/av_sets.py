"""What the tests of the audio-video data sets share: broken clips, preparing, short training."""

from __future__ import annotations

import csv
import re
import shlex
from math import isfinite
from pathlib import Path
from typing import Any

import soundfile
import yaml
from media import video

from counterpoise import ArrayData, load
from counterpoise.cli.arguments import ready_config
from counterpoise.cli.main import main
from counterpoise.data.preparation.table import Table
from counterpoise.training.run import Run, open_run

DOCS = Path(__file__).parents[3] / "docs" / "datasets"
# The papers' samples are too large for tests: shorter sound, smaller pictures.
TINY = (
    *("--set", "audio.seconds=0.4", "--set", "visual.size=24", "--set", "visual.frames=2"),
    *("--max-bad", "0.6", "--quiet"),
)


def clip(path: Path, seconds: float = 0.6, **options: object) -> Path:
    return video(path, seconds, fps=5, size=(32, 24), **options)


def soundless_wav(path: Path) -> None:
    """A WAV file of 0 samples."""
    soundfile.write(path, [], 16000)


def corrupt(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"this was never a film nor a sound" * 40)


def empty(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def prepared(name: str, raw: Path, out: Path, *options: str) -> ArrayData:
    words = list(options)
    if "--max-bad" in words:  # the toys have more bad rows than the data set
        del words[(k := words.index("--max-bad")) : k + 2]
    assert main(["prepare", name, str(raw), str(out), *words, *TINY]) == 0
    return load(str(out))


def bad_rows(out: Path) -> dict[str, str]:
    """Id -> reason, of ``bad.csv``."""
    with (out / "bad.csv").open() as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file)}


def reasons(table: Table) -> dict[str, str]:
    return {bad.id: bad.reason for bad in table.bad}


def apart(data: ArrayData) -> bool:
    """Whether no group is in two splits."""
    sets = [set(split.groups.tolist()) for split in data.splits.values()]
    return sum(map(len, sets)) == len(set.union(*sets))


def train(config: str, data: Path, out: Path) -> tuple[Run, dict[str, Any]]:
    """One epoch by a paper's configuration, with crops that fit tiny pictures; its settings."""
    words = ["train", "--config", config, str(data), "--epochs", "1", "--batch-size", "4"]
    words += ["--encoder", "visual=resnet18:crop=20", "--out", str(out), "--quiet"]
    assert main(words) == 0
    return open_run(out)[0], yaml.safe_load(ready_config(config).read_text())


def check_run(run: Run, asked: dict[str, Any]) -> None:
    """It was trained as its configuration says, by ResNet-18s of its pictures and sound."""
    assert len(run.history) == 1
    assert all(isfinite(value) for value in run.history[0]["loss"].values())
    assert run.method.name == asked["method"]
    assert all(getattr(run.method, key) == value for key, value in asked["set"].items())
    for key in ("optimizer", "lr", "momentum", "weight-decay", "schedule"):
        if key in asked:
            assert getattr(run.settings, key.replace("-", "_")) == asked[key]
    assert asked["encoder"] == {"audio": "resnet18", "visual": "resnet18:crop=224"}
    assert {type(e).__name__ for e in run.model.encoders.values()} == {"ResNet18"}
    assert run.model.encoders["audio"].conv1.weight.shape[1] == 1
    assert type(run.model.fusion).__name__.lower() == asked["fusion"]


def documented(page: str, command: str) -> list[list[str]]:
    """The words after ``command`` of each such line in a datasheet, in one process."""
    text = (DOCS / f"{page}.md").read_text().replace("\\\n", " ")
    text = re.sub(r" --jobs \d+", "", text)
    lines = re.findall(rf"^counterpoise {command} (.*)$", text, re.MULTILINE)
    assert lines
    return [shlex.split(line, comments=True) for line in lines]
