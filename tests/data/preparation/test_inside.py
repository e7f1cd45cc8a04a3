"""``--inside``: no cell leads out of the folder of its table, by whatever way."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from folded import check_each
from PIL import Image

from counterpoise import InputError
from counterpoise.cli.main import main
from counterpoise.data import make_plan, prepare, read_manifest
from counterpoise.data.preparation.choose import make_reading
from counterpoise.data.preparation.paths import Inside
from counterpoise.data.readers import READERS

_watched: list[set[str]] = []
_hooked = False


@contextmanager
def opened() -> Iterator[set[str]]:
    """The resolved paths of the files that Python opens meanwhile."""
    global _hooked
    if not _hooked:  # a hook cannot be taken away again

        def note(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and _watched and isinstance(arguments[0], str | bytes):
                _watched[-1].add(os.path.realpath(os.fsdecode(arguments[0])))

        sys.addaudithook(note)
        _hooked = True
    _watched.append(set())
    try:
        yield _watched[-1]
    finally:
        _watched.pop()


def picture(path: Path) -> Path:
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a table with a picture, beside a picture that is none of its own."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "canary").mkdir()
    canary = picture(tmp_path / "canary" / "secret.png")
    for k in range(24):
        shutil.copy(picture(tmp_path / "a.png"), home / f"{k}.png")
    (home / "link.png").symlink_to(canary)
    (home / "linked").symlink_to(canary.parent)
    (home / "clip").mkdir()
    (home / "clip" / "0.png").symlink_to(canary)
    (home / "own.png").symlink_to("0.png")  # a link that stays
    return home


def ways_out(folder: Path) -> list[str]:
    canary = folder.parent / "canary" / "secret.png"
    home = os.path.relpath(canary, Path.home())
    return [
        "../canary/secret.png",
        "sub/../../canary/secret.png",
        str(canary),
        f"file://{canary}",
        "link.png",
        "linked/secret.png",
        f"~/{home}",
        "..\\canary\\secret.png",
    ]


def write_table(folder: Path, cells: Sequence[str]) -> Path:
    path = folder / "table.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "photo", "target"])
        for k, cell in enumerate(cells):
            out.writerow([f"r{k}", cell, "ab"[k % 2]])
    return path


def test_cells_that_lead_out_are_bad_and_never_opened(folder: Path) -> None:
    out = ways_out(folder)
    path = write_table(folder, [*(f"{k}.png" for k in range(24)), "own.png", *out])
    canary = os.path.realpath(folder.parent / "canary" / "secret.png")
    with opened() as files:
        table = read_manifest(path, inside=True)
        plan = make_plan(table, options={"photo": {"size": 8}})
        data = prepare(plan, folder / "out", max_bad=0.9)
    assert canary not in files
    assert sum(len(split) for split in data.splits.values()) == 25
    bad = (folder / "out" / "bad.csv").read_text()
    assert bad.count("leads out of the folder of the table") == len(out)
    with opened() as files:  # without it they are read, and the watch sees it
        prepare(make_plan(read_manifest(path), options={"photo": {"size": 8}}), folder / "all")
    assert canary in files
    assert (
        not (folder / "all" / "bad.csv").is_file()
        or "leads" not in (folder / "all" / "bad.csv").read_text()
    )


def test_every_reader_of_files_refuses_what_leads_out(folder: Path) -> None:
    canary = os.path.realpath(folder.parent / "canary" / "secret.png")
    cases = [
        (name, cell)
        for name in ("image", "video", "frames", "array", "audio:seconds=1", "text:file=true")
        for cell in (*ways_out(folder), [ways_out(folder)[0], 0.0, 1.0], "clip", "a\nb/../../x")
        if (name == "frames" or cell != "clip")
        and (name[:5] in ("audio", "video") or not isinstance(cell, list))
    ]

    def check(name: str, cell: object) -> None:
        reader = READERS.build(name)
        if name.startswith("text"):
            (folder / "words.txt").write_text("a few words")
            reader = reader.fit([str(folder / "words.txt")])
        made = make_reading(reader, Inside(folder))(cell)
        with opened() as files, pytest.raises(InputError, match="leads out of the folder"):
            reader.read(made)
        assert canary not in files

    check_each(cases, check)


def test_a_table_whose_cells_all_lead_out_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_table(folder, ["../canary/secret.png"] * 20)
    assert main(["prepare", str(path), str(folder / "out"), "--inside", "--quiet"]) == 2
    assert "outside of the folder of the table (--inside)" in capsys.readouterr().err


def test_raw_folders_of_data_sets_may_hold_no_link_that_leads_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder.parent / "out"
    assert main(["prepare", "food-101", str(folder), str(out), "--inside"]) == 2
    assert "is a link that leads out of" in capsys.readouterr().err
    assert not out.exists()


def test_predict_confines_its_cells(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_table(folder, [f"{k}.png" for k in range(24)])
    made = str(folder.parent / "made")
    run = str(folder.parent / "run")
    size = ["--set", "photo.size=8", "--fractions", "0.5,0.25,0.25"]
    assert main(["prepare", str(path), made, "--quiet", *size]) == 0
    assert main(["train", made, "--epochs", "1", "--out", run]) == 0
    write_table(folder, ["0.png", *ways_out(folder)])
    canary = os.path.realpath(folder.parent / "canary" / "secret.png")
    answers = folder.parent / "answers.csv"
    asked = ["predict", run, str(path), "--out", str(answers), "--quiet"]
    with opened() as files:
        assert main([*asked, "--inside"]) == 0
    assert canary not in files
    assert answers.read_text().count("leads out of the folder") == len(ways_out(folder))
    answers.unlink()
    assert main(asked) == 0
    assert "leads out" not in answers.read_text()
