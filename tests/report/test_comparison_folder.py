"""``compare.json`` of this format and of the older one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_fakes import fakes, folder_of

from counterpoise import InputError, Settings
from counterpoise.compare.recipe import Recipe
from counterpoise.core import storage
from counterpoise.report import records, write_report
from counterpoise.report.folder import comparison_folder, describe_making

ADAM = {"optimizer": "adam", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0001}
OLD = {"epochs": 3, "batch_size": 32, **ADAM, "max_norm": None, "lr_step": 2, "lr_factor": 0.5}


def old_folder(path: Path) -> None:
    """As version 0.1.0 wrote it before its release: no format, a momentum that Adam ignores."""
    identity = {"data": "digits", "modalities": None, "settings": OLD, "fusion": None}
    identity |= {"width": 128, "precision": "fp32", "fingerprint": "f"}
    record = {"command": "counterpoise compare x", "versions": {"torch": "2.9"}}
    path.joinpath("compare.json").write_text(json.dumps({**record, "identity": identity}))


def identity_now(**changes: Any) -> dict[str, Any]:
    settings = {"epochs": 3, "optimizer": "adam", "schedule": "step:every=2:factor=0.5"}
    recipe = Recipe("digits", settings=Settings(**{**settings, **changes}))
    return recipe.identity() | {"fingerprint": "f"}


@pytest.mark.filterwarnings("ignore:.*older version")
def test_an_older_comparison_is_the_same_in_other_words(tmp_path: Path) -> None:
    old_folder(tmp_path)
    record = comparison_folder(tmp_path).check(identity_now())
    assert record is not None and record["runs"] == []
    assert describe_making(record) == ("counterpoise compare x", {"torch": "2.9"})
    with pytest.raises(InputError, match=r"settings\.schedule is 'step:every=2:factor=0\.5' there"):
        comparison_folder(tmp_path).check(identity_now(schedule="constant"))


def test_the_page_tells_the_last_command(tmp_path: Path) -> None:
    folder = comparison_folder(tmp_path)
    for command in ("first", "second"):
        made = {"torch": "2.9", "command": command, "time": "noon", "git": {"commit": "1"}}
        record = folder.claim(identity_now(), made_with=made, runs=[])
    assert describe_making(record) == ("second", {"torch": "2.9"})
    assert record["made_with"]["command"] == "first"


def test_tables_are_in_one_order_whichever_run_was_done_first(tmp_path: Path) -> None:
    found = []
    for name, turned in (("a", False), ("b", True)):
        lines, samples = fakes(methods=("mla", "joint"), seeds=(0, 1))
        runs = [{"data": "toy", "method": m, "seed": k} for k in (0, 1) for m in ("mla", "joint")]
        by_run: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
        for line in lines:
            by_run.setdefault(records.run_of(line), []).append(line)
        order = sorted(by_run, reverse=turned)
        folder = folder_of(
            tmp_path / name, [line for run in order for line in by_run[run]], samples
        )
        storage.write_record(folder / "compare.json", {"runs": runs, "format": 1})
        found.append((folder / "summary.csv", write_report(folder)))
    for first, second in zip(*found, strict=True):
        assert first.read_bytes() == second.read_bytes()
    lines = (tmp_path / "a" / "summary.csv").read_text().splitlines()
    assert lines[1].startswith("toy,mla,")
