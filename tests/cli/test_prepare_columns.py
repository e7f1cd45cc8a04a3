"""The table that ``prepare`` prints before it decodes: every column, and why it is taken so."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from counterpoise.cli.columns import MOST, list_columns
from counterpoise.cli.main import main
from counterpoise.data.preparation.choose import Taken
from counterpoise.data.readers import Numbers, Text

HEAD = "id,target,temp[/C],acc [m/s2],[bold]note,url"


def write(path: Path, rows: int = 30) -> Path:
    values = np.random.default_rng(0).normal(size=(rows, 2)).round(2)
    lines = [
        f"{k},{'ab'[k % 2]},{values[k, 0]} 2,1 {values[k, 1]},a [red]word \x1b[1m of {k},https://x/y"
        for k in range(rows)
    ]
    path.write_text("\n".join([HEAD, *lines]) + "\n")
    return path


def test_one_table_of_all_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "[t].csv")
    words = ["prepare", "~/[t].csv", "~/out", "--ignore", "url", "--set", "[bold]note.length=4"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert err.isascii() and "\x1b" not in err and max(map(len, err.splitlines())) <= 80
    lines = [" ".join(line.split()) for line in err.splitlines()]
    assert lines[:8] == [
        "[t]: 30 rows",
        "column taken as because example missing",
        "id id its name 0 0",
        "target target its name a 0",
        "temp[/C] numbers 2 numbers a row 0.13 2 0",
        "acc [m/s2] numbers 2 numbers a row 1 -0.13 0",
        "[bold]note text texts a [red]word ?[1m of 0 0",
        "url ignored --ignore https://x/y 0",
    ]
    assert "temp[/C]" in out and "acc [m/s2]" in out and "[bold]note" in out
    assert "[t]: classification" in out and (tmp_path / "out" / "dataset.json").is_file()
    assert not os.path.exists("~")
    assert main(["prepare", "~/[t].csv", "~/out2"]) == 2
    assert "holds addresses ('https://x/y')" in capsys.readouterr().err


def test_wide_tables_are_grouped() -> None:
    numbers = [
        Taken(f"f{k}", "modality", "a number a row", k, k % 2, Numbers()) for k in range(561)
    ]
    lines = list_columns([Taken("target", "target", "its name", "a"), *numbers])
    assert len(lines) == 5
    assert lines[-1] == (
        "... and 558 more",
        "numbers",
        "a number a row, a modality each",
        "",
        "279",
    )
    texts = [Taken(f"t{k}", "modality", "texts", "x" * 99, 0, Text()) for k in range(99)]
    lines = list_columns(texts)
    assert len(lines) == MOST + 1 and lines[-1][0] == "... and 59 more"
    assert lines[0][3] == "x" * 21 + "..."
    assert len(list_columns(numbers[:MOST])) == MOST


def test_arrays_and_other_paths(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    np.savez(tmp_path / "own.npz", target=np.arange(40) % 2, **{"a[/b]": x})
    assert main(["prepare", str(tmp_path / "own.npz"), str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("own: 40 rows; a[/b] (array)\n") and "a[/b]" in out
    words = ["prepare", str(tmp_path / "own.npz"), str(tmp_path / "o"), "--ignore", "a"]
    assert main(words) == 2
    assert "--ignore is for manifests" in capsys.readouterr().err
