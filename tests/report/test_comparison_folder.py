"""``compare.json`` of this format and of the older one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from counterpoise import InputError, Settings
from counterpoise.compare.recipe import Recipe
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
