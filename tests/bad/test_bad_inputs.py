"""Bad inputs at the command line, in files and at the Python doors: one line, and nothing else.

Each is refused with status 2, or :class:`InputError`, in one line: no traceback, no hang, no file
outside of OUT. What a class of inputs promises in detail is tested where the class is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import sin
from pathlib import Path

import pytest
from bad.arrays import array_rows
from bad.configs import config_rows
from bad.doors import all_doors
from bad.flags import other_rows, train_rows
from bad.runs import run_rows
from bad.sandbox import Row, check_door, check_refused, run, take_picture
from folded import check_each
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run, a comparison, a cache, a pack and a table, all as they should be."""
    folder = tmp_path_factory.mktemp("made")
    names = ("run", "comparison", "cache", "pack")
    found = {name: folder / name for name in names} | {"table": folder / "rows.csv"}
    lines = [f"{k},{'ab'[k % 2]},{sin(k):.4f},{sin(3 * k):.4f}" for k in range(60)]
    found["table"].write_text("\n".join(["id,target,x,y", *lines]) + "\n")
    fast = ["--epochs", 1, "--width", 8, "--quiet"]
    cache = found["cache"]
    for words in (
        ["prepare", found["table"], cache, "--quiet"],
        ["train", cache, "--out", found["run"], *fast],
        [
            "compare",
            cache,
            "--methods",
            "joint,unimodal",
            "--seeds",
            1,
            "--out",
            found["comparison"],
            *fast,
        ],
        ["pack", found["run"], found["pack"]],
    ):
        said = run([*words])
        assert said.status == 0, said.err
    return found


@pytest.fixture
def place(tmp_path: Path, made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder, with ``out`` in it; everything else that is there must stay as it is."""
    home, here = tmp_path / "home", tmp_path / "here"
    (home / ".cache").mkdir(parents=True)
    here.mkdir()
    (home / "canary").write_text("stays")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    before = {name: take_picture(path) for name, path in made.items() if path.is_dir()}
    yield tmp_path
    assert take_picture(home) == {".cache": "folder", "canary": take_picture(home)["canary"]}
    assert take_picture(here) == {}, "something was written where the command ran"
    after = {name: take_picture(path) for name, path in made.items() if path.is_dir()}
    assert after == before


def check_rows(rows: Iterator[Row]) -> None:
    """Every command of them is refused."""
    found = dict(rows)
    check_each(found, lambda name: check_refused(found[name]))


def test_flags_of_train_and_compare(place: Path) -> None:
    check_rows(train_rows(place / "out"))


def test_flags_and_places_of_other_commands(place: Path, made: dict[str, Path]) -> None:
    check_rows(other_rows(place / "out", made["run"], made["pack"], made["table"]))


def test_configuration_files(place: Path) -> None:
    check_rows(config_rows(place / "configs", place / "out"))


def test_arrays_and_tables(place: Path) -> None:
    check_rows(array_rows(place / "arrays", place / "out"))


def test_folders(place: Path, made: dict[str, Path]) -> None:
    check_rows(run_rows(place / "copies", place / "out", made, made["table"]))


def test_doors_of_python(place: Path) -> None:
    found = dict(all_doors(place, place / "out"))
    check_each(found, lambda name: check_door(found[name]))


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.sampled_from(["train", "compare", "evaluate", "prepare", "predict", "report", "export"]),
    st.lists(
        st.one_of(WORDS, st.sampled_from(["--out", "--set", "--config", "digits", "--", "-1"]))
    ),
)
def test_any_words(place: Path, command: str, words: list[str]) -> None:
    if any(os.path.exists(word) for word in words if word and "\0" not in word and len(word) < 99):
        words = [word for word in words if word in ("--out", "digits")]
    said = run([command, "--quiet", "--epochs", "nothing", *words])
    assert said.status in (0, 2), said.err[-1500:]
    assert "Traceback" not in said.err


def test_there_are_five_hundred(place: Path, made: dict[str, Path]) -> None:
    out = place / "out"
    tables = {
        "flags": train_rows(out),
        "other flags": other_rows(out, made["run"], made["pack"], made["table"]),
        "configs": config_rows(place / "configs", out),
        "arrays": array_rows(place / "arrays", out),
        "folders": run_rows(place / "copies", out, made, made["table"]),
        "doors": all_doors(place, out),
    }
    counts = {name: len({row[0] for row in rows}) for name, rows in tables.items()}
    print(counts)
    assert sum(counts.values()) >= 500
