"""Bad values of the flags of every command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bad.sandbox import Row

WHOLE = ("", "x", "-1", "1.5", "nan", "inf", str(10**25), "1e3", "9" * 5000)
REAL = ("", "x", "-1", "nan", "inf", "-inf", "1e400")

# Flag -> values that are wrong, of the commands that train.
TRAIN: dict[str, tuple[str, ...]] = {
    "--epochs": (*WHOLE, "0"),
    "--batch-size": (*WHOLE, "0"),
    "--accumulate": (*WHOLE, "0"),
    "--seed": (*WHOLE, str(2**64)),
    "--patience": (*WHOLE, "0"),
    "--width": (*WHOLE, "0", str(10**12)),
    "--lr": REAL,
    "--momentum": (*REAL, "1"),
    "--weight-decay": REAL,
    "--max-norm": (*REAL, "0"),
    "--warmup": REAL,
    "--label-smoothing": (*REAL, "1", "2"),
    "--optimizer": (
        "",
        "adagrad",
        "sgd:",
        "sgd:nothing=1",
        "adamw:betas=1",
        "adamw:betas=[2,3]",
        "adamw:eps=inf",
        "sgd:momentum=.inf",
        ":x=1",
        "adamw:betas=[0.9,nan]",
    ),
    "--schedule": (
        "",
        "step",
        "step:every=0",
        "step:every=x",
        "nothing",
        "step:every=1:factor=.inf",
        "cosine:nothing=1",
        "plateau:patience=-1",
        "step:every=1.5",
    ),
    "--metric": ("", "nothing", "rmse", "accuracy,f1"),
    "--class-weights": ("", "nothing.yaml", "/", "balance", "/dev/null"),
    "--best-with": ("", "+", "nothing", "image+image", "image,audio", "image+"),
    "--encoder-lr": ("image", "=1", "image=", "image=x", "image=inf", "image=-1", "nothing=1"),
    "--encoder": (
        "image",
        "image=",
        "=conv2d",
        "nothing=conv2d",
        "image=nothing",
        "image=conv2d:nothing=1",
        "image=linear:width=-1",
        "audio=lstm:layers=0",
    ),
    "--fusion": ("", "nothing", "late:nothing=1", "film:hidden=-1", "bottleneck:layers=0"),
    "--precision": ("", "fp16", "BF16"),
    "--device": ("", "meta", "tpu", "cuda:99", "cpu:x", "cpu,cuda", "cuda:-1"),
    "--modalities": ("", ",", "nothing", "image,image", "image,nothing", '"image'),
    "--task": ("", "ranking"),
    "--data-dir": ("\0", "x" * 5000),
    "--out": (
        "",
        "/dev/null",
        "/dev/null/x",
        "/proc/x",
        "\0",
        "x" * 300,
        "a" * 5000,
        "~gone/x",
    ),
    "--config": ("", "nothing.yaml", "nothing", "/", "/dev/null/x.yaml", "\0.yaml"),
    "--nothing": ("1",),
}

ONE = {
    "--method": (
        "",
        ",",
        "nothing",
        "mla,",
        "mla,mla",
        "mla+ogm+nothing",
        "mla:nothing=1",
        "mla,agm",
    ),
    "--set": (
        "",
        "alpha",
        "=1",
        "nothing=1",
        "order=",
        "order=nothing",
        "reset_every=[1",
    ),
}

MANY = {
    "--methods": ("", ",", "nothing", "mla,mla", "joint+", "mla:nothing=1", "mla:order=", "a b"),
    "--set": ("", "alpha=1", "mla", "mla.nothing=1", "nothing.x=1", "mla.order=nothing"),
    "--seeds": (*WHOLE, "0", str(10**12)),
    "--part": (
        "",
        "0/8",
        "9/8",
        "3",
        "a/b",
        "/",
        "1/2/3",
        "-1/2",
        "1/",
        "²/3",
        "16/16",
    ),
    "--jobs": (*WHOLE, "0", str(10**9)),
}


def train_rows(out: Path) -> Iterator[Row]:
    """``train`` and ``compare``, one wrong flag each."""
    for flag, values in {**TRAIN, **ONE}.items():
        for value in values:
            words: list[object] = ["train", "digits", f"{flag}={value}"]
            if flag == "--set":
                words += ["--method", "mla"]
            yield _row(words if flag == "--out" else [*words, "--out", out], value)
    for flag, values in MANY.items():
        for value in values:
            words = ["compare", "digits", f"{flag}={value}", "--out", out]
            yield _row([*words, "--epochs", "1"], value)


def other_rows(out: Path, run: Path, pack: Path, table: Path) -> Iterator[Row]:
    """The other commands, on a run, a pack and a table that are as they should be."""
    flags: dict[tuple[object, ...], dict[str, tuple[str, ...]]] = {
        ("evaluate", run): {
            "--split": ("", "all"),
            "--which": ("", "first"),
            "--against": ("", "nothing", str(run), "/dev/null"),
        },
        ("pack", run, out): {
            "--which": ("first",),
            "--thresholds": ("nothing", ""),
            "--data-dir": ("/dev/null",),
        },
        ("predict", pack, table, "--out", out / "a.csv"): {
            "--batch-size": (*WHOLE, "0"),
            "--accuracy": (*REAL, "1.5"),
            "--coverage": (*REAL, "1", "0"),
            "--id": ("nothing",),
            "--target": ("nothing",),
            "--ignore": ("nothing",),
            "--device": ("meta", "tpu"),
        },
        ("export", pack, out / "m.onnx"): {
            "--modalities": ("", "nothing", "image,image"),
            "--format": ("", "tflite", "torch"),
        },
        ("serve", pack): {
            "--port": ("x", "-1", "65536", "1.5", ""),
            "--max-body": ("x", "-1", "0", "nan"),
            "--max-rows": ("x", "-1", "0"),
            "--timeout": ("x", "-1", "0", "nan", "inf"),
            "--batch-size": ("x", "-1", "0"),
            "--wait": ("x", "-1", "nan", "inf"),
            "--token-file": ("nothing", "/", "/dev/null"),
            "--host": ("", "256.0.0.1", "not a host"),
        },
        ("prepare", table, out): {
            "--modalities": ("", "nothing", "x,x", "target"),
            "--ignore": ("nothing",),
            "--target": ("", "nothing"),
            "--split": ("nothing",),
            "--group": ("nothing",),
            "--weight": ("nothing", "target"),
            "--type": ("", "x", "x=", "x=nothing", "nothing=numbers"),
            "--set": ("", "x", "x.y", "x.nothing=1", "nothing.y=1"),
            "--task": ("ranking",),
            "--fractions": ("", "1", "1,2", "x,y,z", "0.5,0.5,0.5", "-1,1,1", "nan,0,0", "1,0,0"),
            "--seed": WHOLE,
            "--max-bad": (*REAL, "2"),
            "--jobs": (*WHOLE, "0", str(10**9)),
        },
    }
    for words, wrong in flags.items():
        for flag, values in wrong.items():
            for value in values:
                yield _row([*words, f"{flag}={value}"], value)
    for words in places(out, run, pack, table):
        yield _row(list(words), "")


def places(out: Path, run: Path, pack: Path, table: Path) -> Iterator[tuple[object, ...]]:
    """Commands whose positional arguments are wrong."""
    nowhere = ("", "nothing", "/dev/null", "\0", "x" * 5000, "~gone/x")
    for word in nowhere:
        yield ("train", word, "--out", out)
        yield ("evaluate", word)
        yield ("report", word)
        yield ("pack", word, out)
        yield ("predict", word, table, "--out", out / "a.csv")
        yield ("predict", pack, word, "--out", out / "a.csv")
        yield ("export", word, out / "m.onnx")
        yield ("serve", word)
        yield ("prepare", word, out)
    yield from (
        ("nothing",),
        ("--nothing",),
        ("train",),
        ("train", "digits", "digits", "--out", out),
        ("train", "digits", "--out", out, "--out", out),
        ("train", "digits", "--out", table),
        ("train", "digits", "--out", run),
        ("train", table, "--out", out),
        ("compare", "digits", "--out", run),
        ("compare", "digits", "--out", pack),
        ("report", run),
        ("report", pack),
        ("evaluate", pack),
        ("evaluate", table),
        ("evaluate",),
        ("pack", run),
        ("pack", run, table),
        ("pack", run, run),
        ("pack", run, pack),
        ("predict", pack),
        ("predict", pack, table, "--out", out / "a.xlsx"),
        ("predict", pack, table, "--out", out / "no" / "a.csv"),
        ("predict", pack, table, "--out", table),
        ("predict", pack, pack, "--out", out / "a.csv"),
        ("export", pack, out / "m.txt"),
        ("export", pack, run),
        ("export", pack),
        ("prepare", table),
        ("prepare", table, table),
        ("prepare", table, run),
        ("prepare", "digits", table, out),
        ("prepare", "utd-mhad", table, out),
        ("prepare", table, table, table, table),
        ("data", "nothing"),
        ("methods", "nothing"),
        ("completion", "fish"),
    )


def _row(words: list[object], value: str) -> Row:
    shown = " ".join(f"{word!s:.60}" for word in words)
    return f"{shown} [{value!r:.30}]", words
