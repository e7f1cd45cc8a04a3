"""Tables as people have them: read right, or refused in one line."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folded import check_each

from counterpoise.data import make_plan, prepare, read_manifest
from counterpoise.data.preparation.table import Bad
from counterpoise.data.preparation.table_file import TableFile, open_table
from counterpoise.errors import InputError

ODD = "a\u2028b\u0085c\x0bd\x0ce\x1cf\x1dg\x1eh"  # what str.splitlines() parts


def cells(file: TableFile, bad: list[Bad] | None = None) -> list[list[Any]]:
    """All rows."""
    rows = []
    for _, batch in file.batches([] if bad is None else bad):
        rows += [list(row) for row in zip(*map(file.to_python, batch.columns), strict=True)]
    return rows


def written(path: Path, text: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


# Text of a table -> its rows; the names are a and b.
RIGHT: dict[str, tuple[str, list[list[str]]]] = {
    "plain": ("a,b\n1,2\n", [["1", "2"]]),
    "carriage returns": ("a,b\r1,2\r3,4", [["1", "2"], ["3", "4"]]),
    "both": ("a,b\r\n1,2\r\n", [["1", "2"]]),
    "signs that part lines elsewhere": (f"a,b\n{ODD},2\n", [[ODD, "2"]]),
    "line ends in quotes": ('a,b\n"x\ny\r\nz",2\n', [["x\ny\r\nz", "2"]]),
    "quotes in quotes": ('a,b\n"x""y",2', [['x"y', "2"]]),
    "a quote in a word": ('a,b\n5" pipe,2\n3" pipe,4\n', [['5" pipe', "2"], ['3" pipe', "4"]]),
    "text that looks like numbers": ("a,b\n007,NA\ntrue,\n", [["007", "NA"], ["true", ""]]),
    "blanks stay in cells": ("a , b\n x, 2\n", [[" x", " 2"]]),
    "empty lines and rows": ("a,b\n\n1,2\n,\n , \n3,4\n", [["1", "2"], ["3", "4"]]),
    "semicolons": ("a;b\n0,1;1,5\n2,5;3\n", [["0,1", "1,5"], ["2,5", "3"]]),
    "tabs": ("a\tb\nx, y\t2\n", [["x, y", "2"]]),
    "bars": ("a|b\nx|2\n", [["x", "2"]]),
    "commas though cells hold semicolons": ("a,b\nx;y,2\nz;u,3\n", [["x;y", "2"], ["z;u", "3"]]),
    "a delimiter in quotes": ('a,b\n"x;y;z",2\n', [["x;y;z", "2"]]),
    "columns without names at the end": ("a,b,,\n1,2,,\n3,4\n", [["1", "2"], ["3", "4"]]),
    "declared": ("sep=;\na;b\n1;2\n", [["1", "2"]]),
}


def test_lines_cells_and_delimiters(tmp_path: Path) -> None:
    def check(name: str, encoding: str) -> None:
        text, rows = RIGHT[name]
        file = open_table(written(tmp_path / "t.csv", text, encoding))
        assert file.columns == ("a", "b")
        assert cells(file) == rows

    encodings = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
    check_each(product(RIGHT, encodings), check)


def test_what_is_guessed_is_said(tmp_path: Path) -> None:
    assert open_table(written(tmp_path / "a.csv", "a,b\n1,2\n")).notes == ()
    assert open_table(written(tmp_path / "a.tsv", "a\tb\n1\t2\n")).notes == ()
    found = open_table(written(tmp_path / "a.csv", "a;b\n1,5;2\n"))
    assert found.notes == ("columns of a.csv are parted by ';'",) and found.delimiter == ";"
    found = open_table(written(tmp_path / "a.tsv", "a,b\n1,2\n"))
    assert found.notes == ("columns of a.tsv are parted by ','",)
    found = open_table(written(tmp_path / "a.csv", '{"a": 1, "b": 2}\n'))
    assert found.kind == "json" and "is read as JSON" in found.notes[0]
    pq.write_table(pa.table({"a": [1]}), tmp_path / "b.csv")
    assert open_table(tmp_path / "b.csv").kind == "parquet"


def test_what_is_refused_in_one_line(tmp_path: Path) -> None:
    html = "<!DOCTYPE html>\n<html></html>"
    refused: dict[str, tuple[str, str | bytes, str]] = {
        "a quote that is not closed": ("t.csv", 'a,b\n1,"x\n3,4\n5,6\n', "line 2: a quote is not"),
        "one that takes rows in": ("t.csv", 'a,b\n1,"x\n2,3\n3,"y"\n', "line 2: .*expected after"),
        "one column": ("t.csv", "target\n1\n", "between commas, .* found 'target'"),
        "names twice": ("t.csv", "a,a\n1,2\n", "name each column once"),
        "no name": ("t.csv", "a,,b\n1,2,3\n", "name each column once"),
        "Latin-1": ("t.csv", "a,b\ncafé,2\n".encode("latin-1"), "must be UTF-8.*'é' in Latin-1"),
        "cp1252": ("t.csv", "a,b\n“x”,2\n".encode("cp1252"), "must be UTF-8.*'“' in cp1252"),
        "half UTF-16": ("t.csv", "a,b\n1,2\n".encode("utf-16")[:-1], "is no whole UTF-16"),
        "an .xlsx": ("t.csv", b"PK\x03\x04rest", "is a spreadsheet or an archive, save it as CSV"),
        "an .xls": ("t.csv", b"\xd0\xcf\x11\xe0rest", "is an old spreadsheet"),
        "a page": ("t.csv", html, "is a page or XML"),
        "compressed": ("t.csv", gzip.compress(b"a,b\n1,2\n"), "is compressed, unpack it first"),
        "nothing": ("t.csv", "", "is empty"),
        "a list": ("t.jsonl", '[\n{"a": 1}\n]\n', "beginning of a JSON list; write one object"),
        "a list in a line": ("t.jsonl", '[{"a": 1}]\n', "is a JSON list; write one object a line"),
        "no Parquet": ("t.parquet", "a,b\n1,2\n", "it is no Parquet file"),
        "half of one": ("t.parquet", b"PAR1" + b"x" * 90, "cannot be read"),
        ".json": ("t.json", "{}", "must hold an object a line"),
        ".txt": ("t.txt", "a,b\n", "format of the manifest '.txt'"),
    }

    def check(name: str) -> None:
        file, content, message = refused[name]
        with pytest.raises(InputError, match=message) as caught:
            cells(open_table(written(tmp_path / file, content)))
        assert "\n" not in str(caught.value)

    check_each(refused, check)


def test_rows_of_another_width_keep_the_others_numbers(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", 'a,b\n1,"x\ny"\n1,2,3\n5\n6,7\n')
    bad: list[Bad] = []
    file = open_table(path)
    ((numbers, _),) = list(file.batches(bad))
    assert numbers.tolist() == [1, 4]
    assert [(b.id, b.reason) for b in bad] == [
        ("row 2", "has 3 fields where the first line has 2"),
        ("row 3", "has 1 fields where the first line has 2"),
    ]
    written(path, "id,target,x\n1,2\n3,4\n")
    with pytest.raises(InputError, match="no row that can be read; the first: row 1 has 2 fields"):
        read_manifest(path)


def test_an_index_of_pandas_gets_a_name(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", ",a,b\n0,1,2\n")
    assert open_table(path).columns == ("Unnamed: 0", "a", "b")


def test_json_lines(tmp_path: Path) -> None:
    rows = [
        {"a": ODD, "b": [1, [2, None]], "target": True},
        {"target": 10**40, "c": {"x": 1.5}},
        {"a": None, "b": "text", "target": float("nan")},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    lines[1:1] = ["", '{"a": 1, "a": 2}', "{", "[" * 100_000, "[1]", '"word"']
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path = written(tmp_path / "t.jsonl", "\r\n".join(lines), encoding)
        file, bad = open_table(path), list[Bad]()
        assert file.columns == ("a", "b", "target", "c")
        found = cells(file, bad)
        assert found[:2] == [[ODD, [1, [2, None]], True, None], [None, None, 10**40, {"x": 1.5}]]
        assert found[2][:2] == [None, "text"] and found[2][2] != found[2][2]
        assert [b.id for b in bad] == [f"row {k}" for k in (3, 4, 5, 6, 7)]
        assert bad[0].reason == "names 'a' twice"


def test_parquet(tmp_path: Path) -> None:
    kinds = pa.array(["u", "v", None]).dictionary_encode()
    table = pa.table(
        {
            "n": pa.array([1, None, 3]),
            "kind": kinds,
            "lists": [[1.0, 2.0], [], None],
            "when": pa.array([datetime(2020, 1, 2, 3)] * 3, pa.timestamp("ns")),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=2)
    file = open_table(tmp_path / "t.parquet")
    assert file.types["kind"] == "string" and file.types["lists"].startswith("list<")
    found = cells(file)
    assert [row[:3] for row in found] == [[1, "u", [1.0, 2.0]], [None, "v", []], [3, None, None]]
    numbers = [n for places, _ in file.batches([]) for n in places.tolist()]
    assert numbers == [1, 2, 3]
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(InputError, match="each column once"):
        open_table(tmp_path / "twice.parquet")
    # Dictionaries that change from one row group to the next are kept beside the file, too.
    big = pa.table({"kind": pa.array(["x", "y"] * 40_000).dictionary_encode()})
    pq.write_table(big, tmp_path / "big.parquet", row_group_size=10_000)
    assert len(cells(open_table(tmp_path / "big.parquet"))) == 80_000


def test_a_large_table_is_not_held_as_python_objects(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    line = "some words that take their place in a row of the table"
    with path.open("w") as file:
        file.write("id,target,text\n")
        for k in range(120_000):
            file.write(f"r{k},{'ab'[k % 2]},{line} {k}\n")
    size = path.stat().st_size
    assert size > 8 << 20
    tracemalloc.start()
    table = read_manifest(path, modalities=["text"])
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < size / 4  # Arrow's memory is not Python's
    assert table.rows[119_999].cells["text"] == f"{line} 119999"
    assert most < 8 * size


def test_a_table_beyond_memory_lies_in_a_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "target,x,note\n" + "".join(f"{'ab'[k % 2]},{k % 7},n{k}\n" for k in range(60))
    path = written(tmp_path / "t.csv", text)
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(own))
    here = make_plan(read_manifest(path, modalities=["x", "note"]))
    assert not list(own.iterdir())
    monkeypatch.setattr("counterpoise.data.preparation.rows.IN_MEMORY", 1)
    there = make_plan(read_manifest(path, modalities=["x", "note"]))
    assert [file.name for file in own.rglob("*.arrow")] == ["table.arrow"]
    assert list(here.rows) == list(there.rows) and here.identity() == there.identity()
    del there
    assert not list(own.iterdir())


def test_targets_and_weights_with_a_decimal_comma(tmp_path: Path) -> None:
    rows = "".join(f"{k},{k % 10};{k % 3};{1 + k % 2},5\n" for k in range(30))
    path = written(tmp_path / "t.csv", f"target;x;w\n{rows}")
    for task in (None, "regression"):
        plan = make_plan(read_manifest(path, modalities=["x"], weight="w", task=task))
        assert [row.target for row in plan.rows][:3] == ["0.0", "1.1", "2.2"]
        assert plan.target.tolist() == pytest.approx([k + k % 10 / 10 for k in range(30)])
        assert plan.weights is not None and sorted(set(plan.weights.tolist())) == [1.5, 2.5]
    written(path, "target;x\n" + "".join(f"{k % 2},{k % 3};{k % 5}\n" for k in range(40)))
    task = make_plan(read_manifest(path, modalities=["x"], task="classification")).task
    assert task.outputs == 6


def test_an_id_of_half_a_sign(tmp_path: Path) -> None:
    lines = [
        json.dumps({"id": f"i{k}\ud800", "target": "ab"[k % 2], "x": k % 7 + k / 100})
        for k in range(30)
    ]
    path = written(tmp_path / "t.jsonl", "\n".join(lines))
    assert len(prepare(make_plan(read_manifest(path)), tmp_path / "out").train) == 21


def test_rows_without_an_id_take_nobodys(tmp_path: Path) -> None:
    lines = [f"{'' if k == 4 else k},{'ab'[k % 2]},{k % 7 + k / 100}" for k in range(30)]
    table = read_manifest(written(tmp_path / "t.csv", "\n".join(["id,target,x", *lines])))
    plan = make_plan(table)
    assert not plan.bad and [row.id for row in plan.rows][3:7] == ["3", "row 5", "5", "6"]
    found = prepare(plan, tmp_path / "out")
    assert len(found.train) + len(found.validation) + len(found.test) == 30
    lines[7] = "7,a,9"
    written(tmp_path / "t.csv", "\n".join(["id,target,x", *lines]))
    with pytest.raises(InputError, match="holds samples of other rows, or of other cells"):
        prepare(make_plan(read_manifest(tmp_path / "t.csv")), tmp_path / "out")


def test_what_a_comma_means_in_a_target(tmp_path: Path) -> None:
    def refuse(text: str) -> None:
        with pytest.raises(InputError, match="column 'target' holds numbers with a comma"):
            read_manifest(written(tmp_path / "t.csv", text), task="regression")

    cells = [f'"-{k},{k:02}",{k % 7}' for k in range(30)]
    thousands = [f'"{k + 1},{k:03}",{k % 7}' for k in range(30)]
    points = [f"{k},{k:03};0.{k % 7}5" for k in range(30)]
    for head, lines in (("target,x", cells), ("target,x", thousands), ("target;x", points)):
        refuse("\n".join([head, *lines]))
    # The other way round: a column with commas, beside one with decimal points.
    other = [f"{k % 2};{k + 1},{k:03};0.{k % 7}5" for k in range(30)]
    with pytest.raises(InputError, match=r"column 'a' .*--type a=numbers:decimal=,"):
        read_manifest(written(tmp_path / "t.csv", "\n".join(["target;a;b", *other])))
