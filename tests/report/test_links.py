"""Links that lie in wait in the folder of a run or of a comparison: nothing is written through."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from folded import check_each

from counterpoise import InputError
from counterpoise.cli.main import main
from counterpoise.report import records

LINE = dict(
    zip(records.RECORD, ("d", "m", 0, 0, "test", "last", "x", "accuracy", 0.5), strict=True)
)
FILES = (
    *("run.json", "checkpoint.pt", "best.safetensors", "records.jsonl", "samples.jsonl"),
    *("compare.json", "report.html", "summary.csv", "dataset.json", "index.json", ".lock"),
    *("bad.csv", "train-00000.arrow", "model.safetensors", "last.safetensors"),
)


def look(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What lies in a folder: content and time of change."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def plant(out: Path, away: Path) -> dict[str, tuple[bytes, int]]:
    """A folder full of links to files elsewhere, under all names that may be written there."""
    out.mkdir(parents=True)
    away.mkdir()
    for name in FILES:
        (away / name).write_bytes(b"canary")
        (out / name).symlink_to(away / name)
        for draft in (f".{name}.tmp", f"{name}.tmp", f".{name}.{os.getpid()}.tmp"):
            (out / draft).symlink_to(away / name)
        (out / f".{name}.other.tmp").symlink_to(away / f"new-{name}")  # to nothing yet
    return look(away)


def test_records_are_appended_to_no_link(tmp_path: Path) -> None:
    away = tmp_path / "away.jsonl"
    away.write_bytes(b"torn")

    def check(kind: str, why: str) -> None:
        path = tmp_path / f"{kind}.jsonl"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to(away if kind == "link" else tmp_path / "nothing")
        with pytest.raises(InputError, match=why):
            records.append(path, [LINE])
        assert away.read_bytes() == b"torn" and not (tmp_path / "nothing").exists()

    kinds = {"link": "is a link", "dangling": "is a link", "pipe": "a pipe", "folder": "a folder"}
    check_each(kinds.items(), check)
    records.append(tmp_path / "whole.jsonl", [LINE])
    records.append(tmp_path / "whole.jsonl", [LINE | {"epoch": 1}])
    assert len(records.read(tmp_path / "whole.jsonl")) == 2


@pytest.mark.slow
def test_no_command_writes_out_of_its_folder(tmp_path: Path) -> None:
    def check(name: str, *command: str) -> None:
        away, out = tmp_path / f"away-{name}", tmp_path / name
        before = plant(out, away)
        main([*command, "--out", str(out)])  # it may refuse, and mostly does
        assert look(away) == before

    def check_report() -> None:
        out, away = tmp_path / "report", tmp_path / "away-report"
        before = plant(out, away)
        (out / "records.jsonl").unlink()
        (out / "compare.json").unlink()
        records.append(out / "records.jsonl", [LINE, LINE | {"select": "run", "metric": "done"}])
        (out / "samples.jsonl").unlink()
        assert main(["report", str(out)]) == 0
        assert look(away) == before
        assert not (out / "report.html").is_symlink() and not (out / "summary.csv").is_symlink()

    check("train", "train", "digits", "--epochs", "1")
    check("again", "train", "digits", "--epochs", "1", "--resume")
    check("compare", "compare", "digits", "--methods", "joint", "--epochs", "1")
    check_report()


@pytest.mark.slow
def test_a_folder_that_is_a_link_is_used_as_such(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    assert main(["train", "digits", "--epochs", "1", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "disk" / "run.json").is_file()
