"""Which columns of a table are modalities, which are asked about, and which are refused."""

from __future__ import annotations

import csv
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from folded import check_each
from media import wav

from counterpoise import InputError
from counterpoise.data import make_plan, prepare, read_manifest

ROWS = 40
RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=ROWS).round(3).tolist()
TEXTS = [f"the {k % 7} words of this {k % 5} text" for k in range(ROWS)]


def table(folder: Path, name: str = "t.csv", rows: int = ROWS, **columns: Any) -> Path:
    """A table of these columns, each a list of cells, with ``id`` and ``target``."""
    about = {"id": [f"r{k}" for k in range(rows)], "target": ["ab"[k % 2] for k in range(rows)]}
    cells = {key: value for key, value in {**about, **columns}.items() if value is not None}
    path = folder / name
    if name.endswith(".parquet"):
        pyarrow.parquet.write_table(pyarrow.table(cells), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(cells)
        writer.writerows(zip(*cells.values(), strict=True))
    return path


def refuse(path: Path, **asked: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_manifest(path, **asked)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_what_may_be_no_modality_is_asked_about(tmp_path: Path) -> None:
    ids = [str(uuid.UUID(int=int(k))) for k in RNG.integers(1 << 60, size=ROWS)]
    cases: list[tuple[str, list[Any], str]] = [
        ("Unnamed: 0", list(range(ROWS)), "an index of rows"),
        ("index", NUMBERS, "an index of rows"),
        ("__index_level_0__", NUMBERS, "an index of rows"),
        ("n", list(range(7, 7 + ROWS)), "counts the rows"),
        ("Target", NUMBERS, "reads like the target, which is 'target'"),
        ("Label", [k % 3 for k in range(ROWS)], "reads like the target, which is 'target'"),
        ("y", NUMBERS, "reads like the target"),
        ("ID", NUMBERS, "reads like the id, which is 'id'"),
        ("Split", NUMBERS, "reads like the split: --split Split"),
        ("fold", [k % 5 for k in range(ROWS)], "reads like the split: --split fold"),
        ("part", ["train", "TEST"] * 20, "reads like the split"),
        ("Subject", [k // 4 for k in range(ROWS)], "reads like the group: --group Subject"),
        ("sample weight", NUMBERS, "reads like the weight: --weight 'sample weight'"),
        ("userId", NUMBERS, "reads like an id"),
        ("code", ids, "codes that differ in every row"),
        ("tweet", RNG.integers(10**15, 10**18, ROWS).tolist(), "codes that differ in every row"),
        ("user", RNG.integers(10**7, 10**9, ROWS).tolist(), "whole numbers that differ in"),
        ("who", [f"person_{k:03}" for k in range(ROWS)], "names that differ by a number"),
        ("day", [f"2024-01-{1 + k % 28:02}" for k in range(ROWS)], "dates or times"),
        ("at", [f"{k % 12}:{k:02} PM" for k in range(ROWS)], "dates or times"),
        ("day", [20240101 + k % 28 for k in range(ROWS)], "dates or times"),
        ("clock", [1.7e9 + k * 0.5 for k in range(ROWS)], "rises as a clock does"),
        ("same", [1.5] * ROWS, "the same in every row"),
        ("country", ["DE"] * ROWS, "the same in every row"),
        ("price", [f"{k % 9} %" for k in range(ROWS)], "numbers with a unit or a sign"),
        ("mood", ["happy", "sad"] * 20, "says what 'target' says"),
    ]

    def check(name: str, cells: list[Any], why: str) -> None:
        path = table(tmp_path, base=[f"{v} 1" for v in NUMBERS], **{name: cells})
        said = refuse(path)
        assert f"{name!r} ({why}" in said and "leave them out with --ignore" in said
        assert list(read_manifest(path, ignore=[name]).readers) == ["base"]
        assert list(read_manifest(path, modalities=["base", name]).readers) == ["base", name]
        assert name in read_manifest(path, types={name: "text"}).readers

    check_each(cases, check)


def test_what_plainly_is_a_modality_is_taken(tmp_path: Path) -> None:
    found = read_manifest(
        table(tmp_path, x=NUMBERS, z=RNG.integers(9, size=ROWS).tolist(), y=NUMBERS)
    )
    assert [(c.name, c.role, c.because) for c in found.columns] == [
        ("id", "id", "its name"),
        ("target", "target", "its name"),
        *((name, "modality", "a number a row") for name in "xzy"),
    ]
    words = [f"the subject of letter {k}" for k in range(ROWS)]
    assert list(read_manifest(table(tmp_path, subject=words, note=TEXTS)).readers) == [
        "subject",
        "note",
    ]


def test_a_number_beside_files_or_texts_is_asked_about(tmp_path: Path) -> None:
    path = table(tmp_path, note=TEXTS, likes=NUMBERS, pose=[f"{v} 2" for v in NUMBERS], url=TEXTS)
    said = refuse(path)
    assert said == (
        "t.csv has columns that may be no modality: 'likes' (a number beside files or texts); "
        "leave them out with --ignore likes, or name what to take, such as --modalities "
        "note,likes,pose,url"
    )


def test_names_of_columns_may_hold_anything(tmp_path: Path) -> None:
    name = "likes\nof it [/b], all"
    said = refuse(table(tmp_path, "t.parquet", note=TEXTS, **{name: NUMBERS}))
    assert "a number beside files or texts" in said
    found = read_manifest(tmp_path / "t.parquet", ignore=[name])
    assert [c.name for c in found.columns if c.role == "ignored"] == [name]


def test_several_faults_are_one_line(tmp_path: Path) -> None:
    urls = [f"https://x.y/{k}.jpg" for k in range(ROWS)]
    said = refuse(table(tmp_path, note=TEXTS, likes=NUMBERS, url=urls, none=[""] * ROWS))
    assert "column 'url' of" in said and "holds addresses ('https://x.y/0.jpg')" in said
    assert "2 more may be no modality: --ignore url,none,likes leaves all out" in said
    assert list(read_manifest(tmp_path / "t.csv", ignore=["url", "none", "likes"]).readers) == [
        "note"
    ]


def test_roles_by_other_names(tmp_path: Path) -> None:
    path = table(tmp_path, target=None, Target=["a", "b"] * 20, x=NUMBERS)
    assert refuse(path).endswith("holds no column 'target'; say --target Target")
    path = table(tmp_path, target=None, x=NUMBERS, **{"class": ["a", "b"] * 20, "y": NUMBERS})
    assert refuse(path).endswith("say --target class or --target y")
    path = table(tmp_path, x=NUMBERS)
    for role in ("id", "split", "group", "weight"):  # a slip would part what belongs together
        assert f"unknown {role} column of t.csv 'sujbect'" in refuse(path, **{role: "sujbect"})
    assert "unknown column of t.csv to ignore 'z'" in refuse(path, ignore=["z"])
    assert "asked for and ignored" in refuse(path, modalities=["x"], ignore=["x"])
    assert read_manifest(path, id=None, modalities=["x"]).rows[0].id == "1"
    named = {"target": None, "id": "", "modalities": ["id"], "types": {"id": "text"}}
    assert list(read_manifest(path, **named).readers) == ["id"]


def test_a_first_line_of_numbers_is_a_row(tmp_path: Path) -> None:
    for k, head in enumerate(("0,1,2", "5.1,3.5,1", "5.1,3.5,1,setosa")):
        path = tmp_path / f"{k}.csv"
        path.write_text(f"{head}\n" * 30)
        assert "must name its columns in its first line, found numbers" in refuse(path)
    assert "must name" in refuse(tmp_path / "1.csv", target="1")
    plain = tmp_path / "plain.csv"  # as pandas writes columns without a name
    lines = [f"{a},{b},{'xy'[k % 2]}" for k, (a, b) in enumerate(zip(NUMBERS, NUMBERS[::-1]))]  # noqa: B905
    plain.write_text("\n".join(["0,1,2", *lines]))
    assert list(read_manifest(plain, target="2").readers) == ["0", "1"]


def test_types_of_parquet(tmp_path: Path) -> None:
    struct = [{"bytes": b"x", "path": "a.jpg"}] * ROWS
    days = pyarrow.array(range(ROWS), pyarrow.int64())
    cases: list[tuple[Any, str]] = [
        (pyarrow.array(struct), "files inside of the table .*write each to a file"),
        (pyarrow.array([{"a": 1}] * ROWS), r"objects \(struct<a: int64>\), which no reader takes"),
        (days.cast(pyarrow.timestamp("us")), r"dates \(timestamp\[us\]\).*write numbers"),
        (days.cast(pyarrow.int32()).cast(pyarrow.date32()), r"dates \(date32\[day\]\)"),
        (days.cast(pyarrow.time64("us")), r"dates \(time64\[us\]\)"),
        (days.cast(pyarrow.duration("s")), r"dates \(duration\[s\]\)"),
        (pyarrow.array([b"x"] * ROWS), r"bytes \(binary\).*write each to a file"),
        (pyarrow.array([[("a", 1)]] * ROWS, pyarrow.map_("string", "int64")), r"objects \(map<"),
        (pyarrow.array([["a", "b"]] * ROWS), "lists of words"),
        (pyarrow.array([struct[:1]] * ROWS), "files inside of the table"),
    ]

    def check(cells: Any, message: str) -> None:
        path = table(tmp_path, "t.parquet", x=NUMBERS, odd=cells)
        with pytest.raises(InputError, match=message):
            read_manifest(path)
        assert list(read_manifest(path, ignore=["odd"]).readers) == ["x"]

    check_each(cases, check)
    with pytest.raises(InputError, match=r"bytes \(binary\), which no reader takes"):
        read_manifest(table(tmp_path, "t.parquet", x=[b"x"] * ROWS), types={"x": "image"})


def test_values_of_parquet_are_taken_as_what_they_are(tmp_path: Path) -> None:
    import decimal

    path = table(
        tmp_path,
        "t.parquet",
        flag=[k % 3 == 0 for k in range(ROWS)],
        price=[decimal.Decimal(f"{k % 7}.25") for k in range(ROWS)],
        vector=[[k, k + 0.5] for k in range(ROWS)],
        series=[[[k, 1.0]] * (2 + k % 4) for k in range(ROWS)],
        kind=pyarrow.array(["1.5", "2"] * 20).dictionary_encode(),
    )
    names = ["flag", "price", "vector", "series", "kind"]
    found = read_manifest(path, modalities=names)
    assert [reader.name for reader in found.readers.values()] == [
        "numbers", "numbers", "numbers", "array", "numbers"
    ]  # fmt: skip
    data = prepare(make_plan(found, options={"series": {"axis": 0}}), tmp_path / "out")
    assert data.shapes == {
        "flag": (1,), "price": (1,), "vector": (2,), "series": (2, 5), "kind": (1,)
    }  # fmt: skip
    assert sum(len(split) for split in data.splits.values()) == ROWS


def test_missing_words_are_no_bad_rows(tmp_path: Path) -> None:
    waves = [wav(tmp_path / f"{k}.wav", 0.1, 8000, 300 + k).name for k in range(ROWS)]
    words = ["NA", "NaN", "null", "None", "", "nan", "n/a"]
    path = table(
        tmp_path,
        x=[words[k] if k < 7 else f"{NUMBERS[k]} 1" for k in range(ROWS)],
        sound=[f" {words[k]}" if k < 7 else f" {waves[k]} " for k in range(ROWS)],
        note=[words[k] if k < 7 else TEXTS[k] for k in range(ROWS)],
    )
    found = read_manifest(path)
    assert [(c.name, c.missing) for c in found.columns[2:]] == [("x", 7), ("sound", 7), ("note", 1)]
    assert all("sound" not in row.cells for row in found.rows[:7])
    assert found.rows[9].cells["sound"] == str(tmp_path / "9.wav")
    assert [row.cells.get("note") for row in found.rows[:5]] == ["NA", "NaN", "null", "None", None]
    plan = make_plan(found, options={"sound": {"seconds": 0.1}})
    prepare(plan, tmp_path / "out")
    bad = (tmp_path / "out" / "bad.csv").read_text().splitlines()
    assert bad == ["id,modality,reason", "r4,,has none of the modalities"]
