"""Tables parted by delimiters: what is told apart, what is refused, and where blocks end."""

from __future__ import annotations

import json
import tracemalloc
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from folded import check_each
from hypothesis import given, settings
from hypothesis import strategies as st
from table_strategies import Drawn, odd_cells, odd_names, tables

from counterpoise.data import read_manifest
from counterpoise.data.preparation import delimited, text_file
from counterpoise.data.preparation.quotes import find_end, pair_quotes
from counterpoise.data.preparation.table import Bad
from counterpoise.data.preparation.table_file import open_table
from counterpoise.errors import InputError

Read = tuple[tuple[str, ...], dict[int, list[Any]], list[tuple[str, str]], tuple[str, ...]]


def read(path: Path) -> Read:
    """Columns, number -> cells, the bad rows, and the notes."""
    file, bad, rows = open_table(path), list[Bad](), dict[int, list[Any]]()
    for numbers, batch in file.batches(bad):
        columns = [file.to_python(column) for column in batch.columns]
        assert (np.diff([max(rows, default=0), *numbers]) > 0).all()
        rows |= dict(zip(numbers.tolist(), map(list, zip(*columns, strict=True)), strict=True))
    return file.columns, rows, [(b.id, b.reason) for b in bad], file.notes


def test_what_people_write(tmp_path: Path) -> None:
    cases: dict[str, tuple[str, dict[int, list[str]]]] = {
        "blanks before quotes": ('a, "b"\n1, "x, y"\n2, "z"\n', {1: ["1", "x, y"], 2: ["2", "z"]}),
        "blanks after quotes": ('a,b\n"x ""y""" ,1\n', {1: ['x "y"', "1"]}),
        "a quoted word after a blank": ('a,b\n1, "x" y\n', {1: ["1", ' "x" y']}),
        "a quote after a blank": ('a,b\n1, "x\n2,y\n', {1: ["1", ' "x'], 2: ["2", "y"]}),
        "empty lines above the names": ("\n \n\r\na,b\n1,2\n", {1: ["1", "2"]}),
        "two marks": ("\ufeff\ufeffa,b\n1,2\n", {1: ["1", "2"]}),
        "declared in quotes": ('"sep=;"\n\na;b\n1;2\n', {1: ["1", "2"]}),
        "declared against the looks": ("sep=,\na;b,c\n1;2,3\n", {1: ["1;2", "3"]}),
        "an index of an index": (",Unnamed: 0,a\n0,0,x\n", {1: ["0", "0", "x"]}),
        "quotes that bars leave whole": ('x|"a,b"\n1|"p,q"\n', {1: ["1", "p,q"]}),
        "cells at the end that are left out": (
            'a,b,,\n1,2,,\n3,"4\n"\n5, 6 , ,\n',
            {1: ["1", "2"], 2: ["3", "4\n"], 3: ["5", " 6 "]},
        ),
        "names with another delimiter": ("a,b;c\n1,2;3\n", {1: ["1", "2;3"]}),
        "a row of blanks, which counts": ("a,b\n , \n\n1,2\n", {3: ["1", "2"]}),
        "a row of other blanks": ("a,b\n\u3000,\x1c\u2028\n1,2\n", {2: ["1", "2"]}),
        "signs of no width at the start": ("a,b\n\ufeffx,2\n", {1: ["\ufeffx", "2"]}),
    }
    names = {
        "declared against the looks": ("a;b", "c"),
        "an index of an index": ("Unnamed: 0.1", "Unnamed: 0", "a"),
        "quotes that bars leave whole": ("x", "a,b"),
        "names with another delimiter": ("a", "b;c"),
    }

    def check(name: str) -> None:
        text, rows = cases[name]
        path = tmp_path / "t.csv"
        path.write_text(text, encoding="utf-8", newline="")
        assert read(path)[:3] == (names.get(name, ("a", "b")), rows, [])

    check_each(cases, check)


def test_what_is_refused(tmp_path: Path) -> None:
    far = pa.table({"a": pa.array([[10**7]], pa.list_(pa.date32()))})
    pq.write_table(far, tmp_path / "far.parquet")
    pq.write_table(pa.table({"": [1], "b": [2], "a": [3]}), tmp_path / "names.parquet")
    assert read(tmp_path / "names.parquet")[:2] == (("Unnamed: 0", "b", "a"), {1: [1, 2, 3]})
    latin = b"a,b\n" + b"1,2\n" * 3000 + b"1,caf\xe9\n"
    both = r"parted by ',' \(2\) or ';' \(3\); .*sep=;"
    cases: dict[str, tuple[str, bytes | None, str]] = {
        "two delimiters": ("t.csv", b"a;b;c, d\n1;2;0,5\n", both),
        "neither is usual": ("t.csv", b"a;b|c\n1;2|3\n", r"parted by ';' \(2\) or '\|' \(2\)"),
        "names without": ("t.csv", b"a b\n1,2\n", "found 'a b', though ',' part the rows below"),
        "the line of a sign": (
            "t.csv",
            latin,
            "line 3002 holds byte 0xe9, which is 'é' in Latin-1",
        ),
        "the line of a quote": ("t.csv", b'a,b\n"1\n",2\n3,"x"y\n', "line 4: ',' expected after"),
        "a quote in a name": ("t.csv", b'a,"b\n1,2\n', "line 1: a quote is not closed"),
        "a list on lines": ("t.jsonl", b'[{"a": 1},\n{"a": 2}]\n', "JSON list; write one object"),
        "an object on lines": ("t.jsonl", b'{\n"a": 1\n}\n', "no JSON object; write one object"),
        "an empty key": ("t.jsonl", b'{"": 1, "a": 2}\n', "each column once, found '', 'a'"),
        "a page of a spreadsheet": ("t.csv", b"<table><tr><td>1\n", "is a page or XML"),
        "dates that Python lacks": ("far.parquet", None, "cells of type list<.*date32"),
    }

    def check(name: str) -> None:
        file, content, message = cases[name]
        if content is not None:
            (tmp_path / file).write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            read(tmp_path / file)
        assert "\n" not in str(caught.value)

    check_each(cases, check)


def test_cells_beyond_the_names(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,\n1,2,x\n3\n5,6\n7,8,\n9,0,,\n,,\n1,1,\n")
    _, rows, bad, _ = read(path)
    assert rows == {3: ["5", "6"], 4: ["7", "8"], 7: ["1", "1"]}
    assert [(b[0], b[1][:12]) for b in bad] == [
        ("row 1", "has 3 fields"),
        ("row 2", "has 1 fields"),
        ("row 5", "has 4 fields"),
    ]


def test_what_is_guessed_is_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(",a\n0,1\n".encode("utf-16-le"))
    assert read(path)[3] == (
        "t.csv is read as UTF-16, though no mark says so",
        "the first column of t.csv has no name: it is called 'Unnamed: 0'",
    )
    path.write_text(",Unnamed: 0,target,x\n0,0,a,1\n1,1,b,2\n")
    with pytest.raises(
        InputError, match=r"'Unnamed: 0.1' \(an index of rows\); 'Unnamed: 0' \(an index"
    ):
        read_manifest(path)


def test_lines_of_json_end_with_any_line_end(tmp_path: Path) -> None:
    rows = [{"a": "x\u2028y\u0085\x0b"}, {"a": 1.5}, {"b": [float("nan"), None]}, {"a": "é\ud800"}]
    lines = [json.dumps(row) for row in rows]
    for end in ("\n", "\r\n", "\r"):
        (tmp_path / "t.jsonl").write_text(end.join([*lines[:2], "", *lines[2:]]), newline="")
        columns, found, bad, _ = read(tmp_path / "t.jsonl")
        wanted = {
            k: [row.get("a"), row.get("b")] for k, row in zip((1, 2, 4, 5), rows, strict=True)
        }
        assert columns == ("a", "b") and repr(found) == repr(wanted) and not bad


def with_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(text_file, "PIECE", size)
    monkeypatch.setattr(delimited, "LOOKED_AT", 4 * size)


class TestBlocks:
    def test_rows_in_pieces_of_any_size(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        text = (
            'é,"b\r\n""c"""\r\n1,2\r\n\r\n3,"x,\r\ny"\r\n4\r\n"5" ,6\r\n7, "8"\r\n'
            '"",9\r\n9,""""\r\n\ufeff10,11'
        )
        lines = '{"a": "é"}\r\n\r\n{"b": 1}\r{"a": 2}\n[]\n{"b": "x"}'
        for suffix, encoding in product([".csv", ".jsonl"], ["utf-8", "utf-16"]):
            path = tmp_path / f"t{suffix}"
            path.write_bytes((text if suffix == ".csv" else lines).encode(encoding))
            monkeypatch.undo()
            whole = read(path)
            assert len(whole[1]) >= 4 and len(whole[2]) == 1
            for size in range(1, 60):
                with_pieces(monkeypatch, size)
                assert read(path) == whole, size

    def test_a_block_that_begins_with_a_mark(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "t.csv"
        path.write_text("a,b\n1,2\n\ufeff10,11\n12,13\n", encoding="utf-8")
        with_pieces(monkeypatch, 1)
        assert read(path)[1] == {1: ["1", "2"], 2: ["\ufeff10", "11"], 3: ["12", "13"]}

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(tables(odd_cells, odd_names), st.integers(1, 40))
    def test_drawn_tables_in_pieces(
        self, tmp_path_factory: pytest.TempPathFactory, drawn: Drawn, size: int
    ) -> None:
        if len(drawn.content) > 2000:
            return
        path = tmp_path_factory.mktemp("drawn") / f"t{drawn.suffix}"
        path.write_bytes(drawn.content)
        whole = read(path)
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(text_file, "PIECE", size)
            assert read(path) == whole

    def test_wide_tables_and_names_on_many_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "t.csv"
        names = [f"a long name of column {k}" for k in range(12_000)]
        path.write_text(";".join(names) + "\n" + ";".join(["1,5"] * 12_000) + "\n")
        columns, rows, _, _ = read(path)
        assert columns == tuple(names) and rows == {1: ["1,5"] * 12_000}
        name = "line\n" * 40_000
        path.write_text(f'"{name}x";b\n1,5;2\n')
        assert read(path)[:2] == ((f"{name}x", "b"), {1: ["1,5", "2"]})

    def test_a_row_of_many_pieces(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with_pieces(monkeypatch, 64)
        path = tmp_path / "t.csv"
        long = "words,\n" * 2000
        path.write_text(f'a,b\n1,"{long}"\n2,3\n')
        assert read(path)[1] == {1: ["1", long], 2: ["2", "3"]}
        for module in (delimited, text_file):
            monkeypatch.setattr(module, "LONGEST", 1000)
        with pytest.raises(InputError, match="line 2: a row of more than 0 MiB; is a quote closed"):
            read(path)
        path = tmp_path / "t.jsonl"
        path.write_text('{"a": 1}\n' + json.dumps({"a": long}))
        with pytest.raises(InputError, match="line 2, has more than"):
            read(path)

    def test_quotes_are_paired_in_the_short_way_and_the_long(self) -> None:
        def check(text: bytes, places: list[int], end: int, fault: int | None) -> None:
            quotes = pair_quotes(text, ",")
            assert quotes.places.tolist() == places and quotes.fault == fault
            assert find_end(text, quotes, False) == end

        cases: tuple[tuple[bytes, list[int], int, int | None], ...] = (
            (b'"a""b",1\n"c', [0, 2, 3, 5, 9], 9, None),
            (b'"",""\n', [0, 1, 3, 4], 6, None),
            (b'5" x,"a\n', [5], 0, None),
            (b'1,2\n"a\n"b,3\n', [], 4, 4),
            (b'1,2\n"a ""\nb" c,3\n', [], 4, 4),
            (b"1,2\r", [], 0, None),
            (b' "a" ,1\n', [1, 3], 8, None),
            (b' "a\n",1\n', [4], 4, None),
        )
        check_each(cases, check)


def test_bad_rows_do_not_pile_up_where_none_is_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "MOST_BAD", 50)
    with_pieces(monkeypatch, 64)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2,3\n" * 500)
    bad: list[Bad] = []
    with pytest.raises(InputError, match="the first: row 1 has 3 fields where the first line has"):
        list(open_table(path).batches(bad))
    assert len(bad) < 100


def test_batches_of_parquet_are_small_where_cells_are_large(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.bytes(200_000) for _ in range(400)]
    pq.write_table(pa.table({"picture": pictures}), tmp_path / "t.parquet")
    sizes = [batch.nbytes for _, batch in open_table(tmp_path / "t.parquet").batches([])]
    assert sum(sizes) > 80e6 and max(sizes) < 70e6


def test_csv_takes_no_more_memory_where_there_are_more_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "PIECE", 1 << 16)
    path = tmp_path / "t.csv"
    path.write_text("id,text\n" + f'1,"{"some words " * 10}"\n' * 60_000)
    pool = pa.total_allocated_bytes()
    tracemalloc.start()
    held, last = 0, 0
    for numbers, _ in open_table(path).batches([]):
        held, last = max(held, pa.total_allocated_bytes() - pool), numbers[-1]
    assert last == 60_000
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 6 << 20 and held + most < 2 << 20
