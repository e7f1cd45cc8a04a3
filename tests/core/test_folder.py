"""A folder belongs to one thing, and says which and how it was made."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from counterpoise import InputError
from counterpoise.core import provenance, storage
from counterpoise.core.folder import Folder
from counterpoise.core.provenance import find_commit, made_with
from counterpoise.core.version import __version__

MADE = {"counterpoise": "1", "time": "noon"}


def folder(path: Path, **options: Any) -> Folder:
    return Folder(path, "run.json", kind="run", **{"format": 2, **options})


def test_the_record_has_identity_and_making_apart(tmp_path: Path) -> None:
    record = folder(tmp_path / "a").claim({"lr": (1, 2)}, made_with=MADE, epochs=3)
    assert record == {"format": 2, "identity": {"lr": [1, 2]}, "made_with": MADE, "epochs": 3}
    written = json.loads((tmp_path / "a" / "run.json").read_text())
    assert written.pop("checksum") and written == record
    assert folder(tmp_path / "a").read() == record


def test_the_same_claims_again_and_others_are_refused(tmp_path: Path) -> None:
    home = folder(tmp_path)
    home.claim({"lr": 1}, made_with=MADE)
    home.claim({"lr": 1}, made_with={**MADE, "time": "later"})
    assert "continued" not in home.read()  # nothing but the time was another
    with pytest.raises(InputError, match="lr is 1 there and 2 here; choose another folder"):
        home.claim({"lr": 2}, made_with=MADE)
    with pytest.raises(InputError, match="holds this run already; resume it"):
        home.claim({"lr": 1}, made_with=MADE, again=False)


def test_who_goes_on_in_another_way_is_noted(tmp_path: Path) -> None:
    home = folder(tmp_path)
    for version in ("1", "2", "2"):
        home.claim({}, made_with={"counterpoise": version})
    record = home.read()
    assert record["made_with"] == {"counterpoise": "1"}
    assert record["continued"] == [{"counterpoise": "2"}]


def test_a_folder_of_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("x")
    with pytest.raises(InputError, match="is not empty and holds no run"):
        folder(tmp_path).claim({}, made_with=MADE)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_newer_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    folder(tmp_path, format=3).claim({"lr": 1}, made_with={"counterpoise": "7.1"})
    with pytest.raises(InputError) as error:
        folder(tmp_path).claim({"lr": 1}, made_with=MADE)
    said = str(error.value)
    assert "format 3, written by counterpoise 7.1" in said and f"counterpoise {__version__}" in said
    assert "\n" not in said


def test_an_older_format_is_read_by_its_reader_or_refused(tmp_path: Path) -> None:
    storage.write_record(tmp_path / "run.json", {"lr": 1})
    with pytest.raises(InputError, match="format 1, written by counterpoise of an unknown version"):
        folder(tmp_path).read()

    def upgrade(record: dict[str, Any]) -> dict[str, Any]:
        return {"identity": {"rate": record["lr"]}}

    home = folder(tmp_path, upgrade=upgrade)
    assert home.read()["identity"] == {"rate": 1}
    assert home.claim({"rate": 1}, made_with=MADE)["format"] == 2
    assert folder(tmp_path).read()["identity"] == {"rate": 1}  # written anew
    storage.write_record(tmp_path / "run.json", {"format": 1})
    with pytest.raises(InputError, match=r"run.json is damaged"):
        home.read()


@pytest.mark.filterwarnings("ignore:.*older version")
@pytest.mark.parametrize("content", ["[]", '{"format": "x"}', '{"format": 2}', "{"])
def test_a_damaged_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run.json is damaged"):
        folder(tmp_path).claim({}, made_with=MADE)


def test_essence_is_what_must_be_equal(tmp_path: Path) -> None:
    home = folder(tmp_path, essence=lambda identity: {"lr": identity.get("lr", 1)})
    home.claim({"colour": "red"}, made_with=MADE)
    assert home.claim({"lr": 1}, made_with=MADE)["identity"] == {"lr": 1}


def test_the_commit_of_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_commit(tmp_path) is None

    def git(*words: str) -> str:
        name = ["-c", "user.name=n", "-c", "user.email=e"]
        command = ["git", *name, *words]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init")
    assert find_commit(tmp_path) is None  # nothing is committed yet
    (tmp_path / "a.py").write_text("1")
    git("add", ".")
    git("commit", "-m", "x")
    monkeypatch.chdir(tmp_path)
    clean = {"commit": git("rev-parse", "HEAD"), "changed": False}
    assert made_with("mine")["git"] == clean and made_with("mine")["command"] == "mine"
    (tmp_path / "new.py").write_text("1")  # not followed by git
    assert find_commit(tmp_path) == clean
    (tmp_path / "a.py").write_text("2")
    assert find_commit(tmp_path) == {**clean, "changed": True}
    monkeypatch.setattr(provenance, "PATIENCE", 1e-9)
    assert find_commit(tmp_path) is None  # it took too long
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_commit(tmp_path) is None  # no git at all
