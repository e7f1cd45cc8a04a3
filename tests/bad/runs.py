"""Folders of runs, comparisons, caches and packs in which a file is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bad.sandbox import Row


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(bytes(content))


def text(path: Path) -> None:
    path.write_text("hello\n")


def pickled(path: Path) -> None:
    path.write_bytes(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0ctouch hacked\x85R.")


def nest(path: Path) -> None:
    path.write_text('{"nested": ' + "[" * 100_000 + "]" * 100_000 + "}")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def zero(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


WRONG: tuple[Callable[[Path], None], ...] = (
    empty,
    cut,
    flip,
    text,
    pickled,
    nest,
    lengthen,
    pipe,
    folder,
    circle,
    zero,
)


def run_rows(place: Path, out: Path, made: dict[str, Path], table: Path) -> Iterator[Row]:
    """A command on a copy of each folder, in which one file is wrong.

    Args:
        place: takes the copies.
        out: a folder for what commands make.
        made: ``"run"``, ``"comparison"``, ``"cache"`` and ``"pack"`` -> a folder that is whole.
        table: rows that the pack answers.
    """
    asked: dict[str, list[tuple[str, Callable[[Path], list[object]]]]] = {
        "run": [
            (name, lambda f: ["evaluate", f])
            for name in (
                "run.json",
                "checkpoint.pt",
                "best.safetensors",
                "validation-last.safetensors",
            )
        ],
        "comparison": [
            (name, lambda f: ["report", f]) for name in ("compare.json", "records.jsonl")
        ],
        "cache": [
            ("dataset.json", lambda f: ["train", f, "--out", out, "--epochs", "1"]),
            ("train-00000.arrow", lambda f: ["train", f, "--out", out, "--epochs", "1"]),
        ],
        "pack": [
            (name, lambda f: ["predict", f, table, "--out", out / "a.csv"])
            for name in ("config.json", "model.safetensors")
        ],
    }
    place.mkdir()
    for kind, files in asked.items():
        for name, command in files:
            for spoil in WRONG:
                if name == "records.jsonl" and spoil in (empty, cut):
                    continue  # a torn last line is what a kill leaves
                copy = place / f"{kind}-{name}-{spoil.__name__}"
                shutil.copytree(made[kind], copy)
                spoil(copy / name)
                yield f"{kind}: {name}: {spoil.__name__}", command(copy)
