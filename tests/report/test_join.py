"""Parts of a comparison are joined, or it is said why they cannot be, and what they lack."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from report_fakes import fakes

from counterpoise import InputError, Settings
from counterpoise.cli.main import main
from counterpoise.compare.recipe import Recipe
from counterpoise.report import join_folders, read_lines, records, write_report
from counterpoise.report.folder import comparison_folder, read_runs

METHODS = ("joint", "mla")
WHOLE = [{"data": "toy", "method": m, "seed": s} for s in (0, 1) for m in METHODS]


def part(path: Path, *chosen: int, name: str = "", fingerprint: str = "f", lr: float = 0.1) -> Path:
    """A folder that holds some of the four runs, as part ``name``."""
    recipe = Recipe("toy", settings=Settings(epochs=4, lr=lr))
    runs = [WHOLE[k] for k in chosen]
    more: dict[str, Any] = {"whole": WHOLE, "parts": [name]} if name else {}
    comparison_folder(path).claim(
        recipe.identity() | {"fingerprint": fingerprint}, made_with={}, runs=runs, **more
    )
    lines, samples = fakes(METHODS, seeds=(0, 1), samples=20)
    for file, found in (("records", lines), ("samples", samples)):
        mine = [x for x in found if {k: x[k] for k in records.RUN} in runs]
        records.append(path / f"{file}.jsonl", mine)
    return path


def test_parts_joined_are_the_whole(tmp_path: Path) -> None:
    one, two = part(tmp_path / "1", 1, 2, name="1/2"), part(tmp_path / "2", 0, 3, name="2/2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = join_folders([two, one], tmp_path / "all")
    whole = part(tmp_path / "whole", 0, 1, 2, 3)
    for file in ("records.jsonl", "samples.jsonl"):
        assert records.read(out / file) == read_lines(whole, file)
    assert write_report(out).is_file()
    assert read_runs(comparison_folder(out).read()) == [records.run_of(run) for run in WHOLE]


@pytest.mark.filterwarnings("always:the comparison is not complete")
def test_missing_parts_and_runs_are_told_and_may_come_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = part(tmp_path / "1", 0, 3, name="1/2"), part(tmp_path / "2", 1, 2, name="2/2")
    words = ["report", str(one), "--out", str(tmp_path / "all"), "--quiet"]
    assert main(words) == 0
    err = capsys.readouterr().err
    assert "not complete: 2 run(s) are not done (mla, seed 0; joint, seed 1)" in err
    assert "no folder is part 2/2" in err and err.count("\n") == 1
    assert "mla" in (tmp_path / "all" / "report.html").read_text()  # among those that are missing
    assert main([*words[:1], str(two), *words[2:]]) == 0
    assert capsys.readouterr().err == ""
    assert len(records.done(records.read(tmp_path / "all" / "records.jsonl"))) == 4


def test_a_run_that_was_begun_is_missing(tmp_path: Path) -> None:
    one, two = part(tmp_path / "1", 0, 1, name="1/2"), part(tmp_path / "2", 2, 3, name="2/2")
    lines = [r for r in records.read(two / "records.jsonl") if r["metric"] != "done"]
    records.write(two / "records.jsonl", lines)
    with pytest.warns(UserWarning, match=r"2 run.s. are not done .joint, seed 1; mla, seed 1.$"):
        out = join_folders([one, two], tmp_path / "all")
    found = records.read(out / "records.jsonl")
    assert {records.run_of(line) for line in found} == records.done(found)
    assert len(records.done(found)) == 2


@pytest.mark.parametrize(
    ("change", "said"), [({"fingerprint": "g"}, "fingerprint is 'f'"), ({"lr": 0.2}, "settings.lr")]
)
def test_other_comparisons_are_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    one, two = part(tmp_path / "1", 0), part(tmp_path / "2", 1, **change)
    with pytest.raises(InputError, match="is no part of the comparison") as error:
        join_folders([one, two], tmp_path / "all")
    assert said in str(error.value)
    assert not (tmp_path / "all").exists()
    join_folders([one], tmp_path / "all")
    with pytest.raises(InputError, match="is no part of the comparison"):
        join_folders([two], tmp_path / "all")


def test_a_run_twice_counts_once_if_its_numbers_are_equal(tmp_path: Path) -> None:
    one, two = part(tmp_path / "1", 0, 1), part(tmp_path / "2", 1, 2, 3)
    lines = records.read(two / "records.jsonl")
    for line in lines:
        line["value"] += (line["metric"] == "seconds") * 5.0  # times always differ
    records.write(two / "records.jsonl", lines)
    out = join_folders([one, two], tmp_path / "all")
    assert len(records.read(out / "records.jsonl")) == sum(
        len(records.read(folder / "records.jsonl")) for folder in (one, part(tmp_path / "3", 2, 3))
    )
    next(x for x in lines if records.run_of(x) == ("toy", "mla", 0))["value"] += 1e-9
    records.write(two / "records.jsonl", lines)
    with pytest.raises(InputError, match=r"the run mla, seed 0 .* with different numbers"):
        join_folders([one, two], tmp_path / "other")


def test_folders_need_a_place_and_a_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = part(tmp_path / "1", 0), part(tmp_path / "2", 1)
    assert main(["report", str(one), str(two)]) == 2
    assert "report needs --out DIR" in capsys.readouterr().err
    (two / "compare.json").unlink()
    assert main(["report", str(one), str(two), "--out", str(tmp_path / "all")]) == 2
    assert f"{two} holds no compare.json" in capsys.readouterr().err
    with pytest.raises(InputError, match="folders must name one"):
        join_folders([], tmp_path / "all")
