"""Bad values of flags: status 2 and one line, at once, whatever the command."""

from __future__ import annotations

import os
import shutil
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from folded import check_each

from counterpoise.cli.main import main

LONG, NUL = "n" * 5000, "a\0b"


@contextmanager
def hurry(seconds: int = 60) -> Iterator[None]:
    """Fail where something takes this long, also inside of a call that waits."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of arrays, a table, a run, a pack, and things that are no files."""
    place = tmp_path_factory.mktemp("flags")
    generator = np.random.default_rng(0)
    target = np.arange(60) % 2
    inputs = {m: generator.normal(size=(60, 3)) + target[:, None] for m in ("a", "b")}
    np.savez(place / "toy.npz", target=target, **inputs)
    lines = [
        f"{k},{x[0]:.3f} {x[1]:.3f},{t}"
        for k, (x, t) in enumerate(zip(inputs["a"], target, strict=True))
    ]
    (place / "table.csv").write_text("id,a,target\n" + "\n".join(lines) + "\n")
    os.mkfifo(place / "pipe")
    (place / "file").write_text("x")
    (place / "folder").mkdir()
    train = ["train", str(place / "toy.npz"), "--epochs", "1", "--width", "4", "--quiet"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main([*train, "--out", str(place / "run")]) == 0
        assert main(["pack", str(place / "run"), str(place / "pack")]) == 0
    return place


BOTH = [
    *("--seed=18446744073709551616", "--seed=-1", "--seed=1e3", "--seed=", "--seed=x"),
    *("--batch-size=10000000000000000000000000", "--batch-size=0", "--batch-size=-1"),
    *("--batch-size=1e3", "--epochs=1e3", "--epochs=0", f"--epochs={'9' * 5000}", "--epochs=1:30"),
    *("--epochs=[1,2]", "--epochs=None", "--width=1000000000000", "--width=0", "--width=-3"),
    *("--width=1e3", "--width=99999999999999999999", "--device=meta", "--device=", "--device=x"),
    *("--device=cpu:99x", "--device=cuda:99", "--modalities=", "--modalities=a,a"),
    *("--modalities=,", "--modalities=z", f"--modalities={LONG}", "--out=", "--out=FILE"),
    *("--out=FILE/x", "--out=PIPE", f"--out={NUL}", f"--out={LONG}", "--out=/dev/null"),
    *("--task=x", "--fusion=", "--fusion=x"),
    *("--fusion=concat:x=1", "--encoder=a", "--encoder=a=", "--encoder==x", "--encoder=z=mlp"),
    *("--encoder=a=zzz", "--precision=fp8", "--optimizer=", "--optimizer=sgd:momentum=[[[["),
    *("--schedule=", "--schedule=step:every=0", "--lr=x", "--lr=nan", "--momentum=1"),
    *("--config=", "--config=PIPE", "--config=FOLDER", "--config=gone.yaml", "--config=/dev/zero"),
    *(f"--config={NUL}", "--class-weights=PIPE", "--class-weights=FOLDER", "--class-weights="),
    *("--metric=x", "--metric=", "--best-with=", "--best-with=a+a", "--best-with=z"),
    *("--patience=0", "--accumulate=0", "--accumulate=10000000000000000000000"),
    *("--encoder-lr=a=x", "--encoder-lr=a=-1", "--encoder-lr=z=1", "--label-smoothing=1"),
    *("--warmup=-1", "--max-norm=-1", "--weight-decay=-1", "--nothing=1", "--set=", "--set==1"),
    *("--set=x", "--set=x=1", "--set=.=1", "--set=joint", f"--set={LONG}=1", "extra"),
]
TRAIN = ["--method=", "--method=,", "--method=x", "--method=joint,joint", "--set=weight=&a [*a]"]
COMPARE = [
    *("--methods=", "--methods=,", "--methods=x", "--methods=joint,joint", "--seeds=0"),
    *("--seeds=1000000000000", "--seeds=-1", "--seeds=1e3", "--jobs=0", "--jobs=1000000000"),
    *("--part=", "--part=0/8", "--part=9/8", "--part=3", "--part=a/b", "--part=1/99"),
    *("--jobs=99999999999999999999999", "--jobs=x", "--set=joint.=1", "--set=joint.x=1"),
]
DATA = [
    "",
    "-",
    "/dev/null",
    "/dev/zero",
    "PIPE",
    "FILE",
    "FOLDER",
    NUL,
    LONG,
    "gone.npz",
    "x",
    ".",
]
PREPARE = [
    *("--seed=-1", "--seed=18446744073709551616", "--jobs=0", "--jobs=1000000000", "--max-bad=2"),
    *("--max-bad=nan", "--max-bad=-1", "--fractions=1", "--fractions=1,1,1", "--fractions=x"),
    *("--fractions=nan,nan,nan", "--target=", "--target=z", "--id=z", "--split=z", "--type=a"),
    *("--type=a=x", "--set=a=1", "--set=a.=1", "--set=a.x=1", "--modalities=", "--modalities=a,a"),
    *("--modalities=z", "--ignore=z", "--task=x", "--weight=z", "--group=z"),
]
PREDICT = [
    *("--batch-size=0", "--batch-size=10000000000000000000000000", "--batch-size=x", "--id=z"),
    *("--target=z", "--ignore=z", "--accuracy=2", "--accuracy=nan", "--coverage=0"),
    *("--coverage=x", "--out=", "--out=PIPE", "--out=FOLDER", "--out=x", "--out=FILE/x.csv"),
    *(f"--out={NUL}", f"--out={LONG}.csv", "--device=meta", "--device=x", "--which=x"),
]
SERVE = [
    *("--port=-1", "--port=99999", "--port=x", "--max-body=0", "--max-rows=0", "--timeout=0"),
    *("--timeout=nan", "--batch-size=0", "--wait=-1", "--token-file=PIPE", "--token-file=FOLDER"),
    *("--token-file=", "--token-file=/dev/zero", "--token-file=gone", "--max-body=1e3"),
]
EXPORT = ["--modalities=", "--modalities=z", "--modalities=a,a", "--format=x", "--which=x"]


def lines_of(place: Path) -> list[list[str]]:
    """Every command line."""
    toy, run, pack = (str(place / name) for name in ("toy.npz", "run", "pack"))
    out, new, table = f"--out={place / 'out'}", str(place / "new"), str(place / "table.csv")
    short = ["--epochs=1", "--width=4", "--quiet"]
    train = [["train", toy, *_without(short, w), *_without([out], w), w] for w in BOTH + TRAIN]
    both = [w for w in BOTH if not w.startswith("--set")] + COMPARE
    compare = [["compare", toy, *_without(short, w), *_without([out], w), w] for w in both]
    data = [[c, d, *short, out] for c in ("train", "compare") for d in DATA]
    data += [["prepare", d, new] for d in DATA] + [["predict", pack, d] for d in DATA]
    data += [[c, d] for c in ("evaluate", "report", "serve") for d in DATA]
    data += [["predict", d, table] for d in DATA] + [["pack", d, new] for d in DATA]
    data += [["export", d, f"{new}.onnx"] for d in DATA]
    data += [["evaluate", run, f"--against={d}"] for d in DATA]
    bad = ["FILE", "PIPE", "FILE/x", NUL, LONG, ""]
    data += [["prepare", table, d] for d in bad] + [["pack", run, d] for d in bad]
    data += [["export", pack, d] for d in [*bad, "FOLDER"]]
    others = [["prepare", table, new, w] for w in PREPARE] + [
        ["predict", pack, table, w] for w in PREDICT
    ]
    others += [["serve", pack, w] for w in SERVE] + [
        ["export", pack, f"{new}.onnx", w] for w in EXPORT
    ]
    others += [
        ["data", "x"],
        ["data", ""],
        ["methods", "x"],
        ["completion", "x"],
        [""],
        ["x"],
        ["-x"],
    ]
    places = {"PIPE": place / "pipe", "FILE": place / "file", "FOLDER": place / "folder"}

    def fill(word: str) -> str:
        for name, path in places.items():
            word = word.replace(name, str(path))
        return word

    return [[fill(word) for word in line] for line in train + compare + data + others]


def _without(words: list[str], word: str) -> list[str]:
    return [w for w in words if w.split("=")[0] != word.split("=")[0]]


@pytest.mark.slow
def test_every_bad_flag_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place / "folder")
    before = sorted(p.name for p in place.rglob("*"))

    def check(line: list[str]) -> None:
        with hurry():
            assert main(line) == 2
        said = capsys.readouterr().err.splitlines()
        assert not (place / "out").exists() or shutil.rmtree(place / "out"), "it wrote"
        errors = [text for text in said if text.startswith("counterpoise: error: ")]
        assert len(errors) == 1 and len(errors[0]) < 6000, said
        assert said[-1] == errors[0]

    lines = lines_of(place)
    assert len(lines) > 400
    check_each([(line,) for line in lines], check)
    assert sorted(p.name for p in place.rglob("*")) == before
