"""Whatever lies beside a healthy run, it is evaluated; what is named and broken is an error."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from folded import check_each

from counterpoise.cli.main import main
from counterpoise.core import storage

pytestmark = pytest.mark.filterwarnings("always:.*is left out")
WORDS = ["digits", "--epochs", "2", "--width", "4", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, ``joint``, and a unimodal one elsewhere."""
    home = tmp_path_factory.mktemp("beside")
    assert main(["train", *WORDS, "--method", "joint", "--out", str(home / "runs" / "joint")]) == 0
    assert main(["train", *WORDS, "--method", "unimodal", "--out", str(home / "uni" / "a")]) == 0
    return home


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    record, _ = storage.read_record(path / "run.json")
    edit(record)
    storage.write_record(path / "run.json", record)


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as found:
            found.bind(path.name)
    finally:
        os.chdir(here)


def replace(name: str, put: Callable[[Path], None]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        (path / name).unlink()
        put(path / name)

    return spoil


def make_huge(path: Path) -> None:
    with (path / "run.json").open("r+b") as file:
        file.truncate(1 << 40)


# What a unimodal run beside a healthy one has become -> what the line says of it.
KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "unfinished": (lambda p: (p / "checkpoint.pt").unlink(), "checkpoint.pt is not there"),
    "half a checkpoint": (lambda p: os.truncate(p / "checkpoint.pt", 999), "is damaged"),
    "no JSON": (lambda p: (p / "run.json").write_text("{"), "run.json is damaged"),
    "deep": (lambda p: (p / "run.json").write_text("[" * 100_000), "run.json is damaged"),
    "odd": (lambda p: change(p, lambda r: r["identity"]["method"].update(name=3)), "method.name"),
    "newer": (lambda p: change(p, lambda r: r.update(format=99)), "of format 99"),
    "a pipe": (replace("run.json", put_pipe), "found a pipe"),
    "a socket": (replace("run.json", put_socket), "found a socket"),
    "a folder": (replace("run.json", Path.mkdir), "found a folder"),
    "a pipe for weights": (replace("checkpoint.pt", put_pipe), "found a pipe"),
    "a broken link": (replace("run.json", lambda p: p.symlink_to("gone")), "run.json"),
    "a circle of links": (replace("run.json", lambda p: p.symlink_to("run.json")), "run.json"),
    "huge": (make_huge, "more than any run"),
    "unreadable": (lambda p: (p / "run.json").chmod(0), "ermission denied"),
}


def test_a_unimodal_run_beside_is_skipped_if_anything_is_wrong_with_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(name: str) -> None:
        spoil, said = KINDS[name]
        if name == "unreadable" and os.geteuid() == 0:
            return  # who reads everything
        runs = tmp_path / name / "deeper" / "runs"
        shutil.copytree(home / "runs", runs)
        shutil.copytree(home / "uni" / "a", runs / "odd-one")
        spoil(runs / "odd-one")
        capsys.readouterr()
        assert main(["evaluate", str(runs / "joint")]) == 0
        found = capsys.readouterr()
        lines = [line for line in found.err.splitlines() if "is left out" in line]
        assert len(lines) == 1 and "odd-one" in lines[0] and said in lines[0], found.err
        assert "name one with --against" in found.out
        assert main(["evaluate", str(runs / "joint"), "--against", str(runs / "odd-one")]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1

    check_each(KINDS, check)


def test_a_whole_one_is_found_behind_a_broken_one_and_others_are_passed_silently(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(home / "runs", tmp_path / "r")
    for name in ("a", "z"):
        shutil.copytree(home / "uni" / "a", tmp_path / "r" / name)
    shutil.copytree(home / "runs" / "joint", tmp_path / "r" / "b")
    (tmp_path / "r" / "a" / "checkpoint.pt").unlink()
    assert main(["evaluate", str(tmp_path / "r" / "joint")]) == 0
    found = capsys.readouterr()
    assert f"co-learning, against {tmp_path / 'r' / 'z'}" in found.out
    assert found.err.count("\n") == 1 and "/r/a is left out" in found.err
