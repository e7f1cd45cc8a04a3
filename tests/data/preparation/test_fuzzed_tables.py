"""Tables that hypothesis draws: read as they were written, or refused in one line.

The references are what was written, pandas, ``json.loads``, pyarrow, and a second parser.
"""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from table_strategies import (
    LINE_ENDS,
    NAMES,
    PARTING,
    Drawn,
    odd_cells,
    odd_names,
    ordinary_cells,
    ordinary_names,
    parse,
    signs,
    tables,
    write_rows,
)

from counterpoise.data import make_plan, read_manifest
from counterpoise.data.preparation.table import Bad
from counterpoise.data.preparation.table_file import open_table
from counterpoise.data.preparation.text_file import find_encoding
from counterpoise.errors import InputError

Found = tuple[tuple[str, ...], dict[int, list[Any]], list[Bad]]


def fuzz(examples: int) -> Any:
    """The settings of a test with so many tables, the same at each run."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(
        max_examples=examples, derandomize=True, deadline=None, suppress_health_check=quiet
    )


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One for all examples, each of which writes over the last."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def read(path: Path) -> Found:
    """Columns, number -> cells of each row, and the bad ones; all that the interface promises."""
    file, bad, rows = open_table(path), list[Bad](), dict[int, list[Any]]()
    for numbers, batch in file.batches(bad):
        assert numbers.dtype == np.int64 and batch.schema.names == list(file.columns)
        assert len(numbers) == len(batch) and min(numbers, default=1) > max(rows, default=0)
        columns = [file.to_python(column) for column in batch.columns]
        rows |= dict(zip(numbers.tolist(), map(list, zip(*columns, strict=True)), strict=True))
    assert not {f"row {number}" for number in rows} & {b.id for b in bad}
    return file.columns, rows, bad


def try_read(path: Path) -> Found | None:
    """What was read; None where it was refused in one line."""
    try:
        return read(path)
    except InputError as error:
        message = str(error)
        assert message.splitlines() == [message] and str(path) in message
        event("refused")
        return None


def numbered(rows: list[list[str]]) -> dict[int, list[str]]:
    """The rows that hold something, which alone are read, by their numbers."""
    return {k: row for k, row in enumerate(rows, 1) if any(map(str.strip, row))}


def columns_of(names: list[str]) -> tuple[str, ...]:
    while len(names) > 2 and not names[-1].strip():  # as spreadsheets leave behind
        names = names[:-1]
    return tuple(name.strip() or "Unnamed: 0" for name in names)


def check_delimited(drawn: Drawn, folder: Path) -> bool:
    """Check that it is read as it was written; returns whether pandas reads it so, too."""
    path = folder / f"table{drawn.suffix}"
    path.write_bytes(drawn.content)
    found = try_read(path)
    if found is None:  # as Python 3.10 does
        assert any("\0" in word for row in [drawn.names, *drawn.rows] for word in row)
    else:
        assert found == (columns_of(drawn.names), numbered(drawn.rows), [])
    try:
        frame = pd.read_csv(
            path, sep=drawn.delimiter, dtype=str, keep_default_na=False, encoding=drawn.encoding
        )
    except ValueError:
        return False
    return frame.to_numpy().tolist() == drawn.rows


def check_ordinary(drawn: Drawn, folder: Path) -> None:
    assert check_delimited(drawn, folder), "pandas reads it otherwise"


def check_odd(drawn: Drawn, folder: Path) -> None:
    event("read as pandas does" if check_delimited(drawn, folder) else "pandas reads it otherwise")


class TestDelimited:
    @fuzz(80)
    @given(tables(ordinary_cells, ordinary_names))
    def test_ordinary_tables_are_never_refused(self, folder: Path, drawn: Drawn) -> None:
        check_ordinary(drawn, folder)

    @fuzz(140)
    @given(tables(odd_cells, odd_names))
    def test_odd_cells_and_names(self, folder: Path, drawn: Drawn) -> None:
        check_odd(drawn, folder)

    @pytest.mark.slow
    @fuzz(800)
    @given(tables(ordinary_cells, ordinary_names))
    def test_many_ordinary_tables(self, folder: Path, drawn: Drawn) -> None:
        check_ordinary(drawn, folder)

    @pytest.mark.slow
    @fuzz(2000)
    @given(tables(odd_cells, odd_names))
    def test_many_odd_ones(self, folder: Path, drawn: Drawn) -> None:
        check_odd(drawn, folder)

    @pytest.mark.parametrize("name", NAMES)
    def test_names_that_look_like_something_else(self, folder: Path, name: str) -> None:
        path = folder / "table.csv"
        path.write_text(f"{name},other\n1,2\n", encoding="utf-8")
        assert read(path) == ((name, "other"), {1: ["1", "2"]}, [])

    @fuzz(60)
    @given(
        st.lists(st.integers(0, 6), min_size=1, max_size=12),
        st.sampled_from([",", ";", "\t", "|"]),
        st.sampled_from(LINE_ENDS),
        st.lists(st.sampled_from(["x", "two words", "a,b", "line\nend", "7", ""]), min_size=6),
    )
    def test_rows_of_another_width_between_good_ones(
        self, folder: Path, widths: list[int], delimiter: str, line_end: str, cells: list[str]
    ) -> None:
        rows = [[f"c{k}", *cells][:width] for k, width in enumerate(widths)]
        text = write_rows([["a", "b", "c"], *rows], delimiter, line_end, csv.QUOTE_ALL)
        path = folder / f"rows{'.tsv' if delimiter == chr(9) else '.csv'}"
        path.write_text(text, encoding="utf-8", newline="")
        columns, found, bad = read(path)
        assert columns == ("a", "b", "c")
        assert found == {k: row for k, row in enumerate(rows, 1) if len(row) == 3}
        # An empty line is a record, and no bad row.
        wrong = {f"row {k}": len(row) for k, row in enumerate(rows, 1) if len(row) not in (0, 3)}
        assert [b.id for b in bad] == list(wrong)
        assert all(f"has {n} fields" in b.reason for b, n in zip(bad, wrong.values(), strict=True))


texts = st.one_of(st.text(max_size=6), st.sampled_from([f"a{sign}b" for sign in PARTING]))
numbers = st.one_of(st.integers(), st.floats(), st.just(10**60))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, st.just("\ud800")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=2)),
    max_leaves=6,
)
keys = st.one_of(
    st.sampled_from(["a", "b", "c d", "é", "\u2028", "k", "l", "m", "\ud800"]),
    st.text(signs, min_size=1),
)
records = st.one_of(
    st.dictionaries(keys, values, max_size=4),
    st.dictionaries(st.sampled_from(["a", "b", "target"]), values, min_size=1),
)
broken = st.sampled_from(["", " ", "{", "[1, 2]", '"word"', "7", '{"a": 1,}', "{'a': 1}", "NaN"])


class TestJsonLines:
    def test_a_first_row_that_names_a_list_twice_is_one_bad_row(self, folder: Path) -> None:
        path = folder / "table.jsonl"
        path.write_text('{"list": 1, "list": 2}\n{"a": 1}\n')
        columns, rows, bad = read(path)
        assert (columns, rows) == (("a",), {2: [1]}) and [b.id for b in bad] == ["row 1"]

    def test_a_name_that_is_no_text(self, folder: Path) -> None:
        path = folder / "table.jsonl"
        path.write_text('{"a": 1, "b\\ud800": 2}\n')
        with pytest.raises(InputError, match=r"names a column 'b\\ud800': half a sign"):
            read(path)

    @fuzz(100)
    @given(
        st.lists(st.one_of(records, records, broken), min_size=1, max_size=8),
        st.booleans(),
        st.sampled_from(["\n", "\r\n"]),
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    )
    def test_mixed_types_and_missing_keys(
        self, folder: Path, rows: list[Any], is_ascii: bool, line_end: str, encoding: str
    ) -> None:
        lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=is_ascii) for r in rows]
        text = line_end.join(lines)
        path = folder / "table.jsonl"
        path.write_bytes(text.encode(encoding, "replace"))  # a lone surrogate is no sign
        found = try_read(path)
        known = [(k, try_json(line)) for k, line in enumerate(_decode(path).split("\n"), 1)]
        objects = {k: value for k, value in known if isinstance(value, dict)}
        names = tuple(dict.fromkeys(key for value in objects.values() for key in value))
        if found is None:
            first = next((value for _, value in known if value is not None), None)
            # Nothing to read, a list instead of lines, or a name that is none.
            assert not names or isinstance(first, list) or {"", "\ud800"} & {*names}
            return
        columns, read_rows, bad = found
        assert columns == columns_of(list(names)) or columns == names
        wanted = {k: [value.get(name) for name in names] for k, value in objects.items()}
        assert repr(read_rows) == repr(wanted)  # NaN is NaN, and 1 neither True nor 1.0
        lines = _decode(path).split("\n")
        others = [f"row {k}" for k, _ in known if k not in objects and lines[k - 1].strip(" \r\t")]
        assert [b.id for b in bad] == others


def _decode(path: Path) -> str:
    with path.open(encoding=find_encoding(path), newline="\n") as file:
        return file.read()


def try_json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), st.text(signs, max_size=5)),
    "large text": (pa.large_string(), st.text(signs, max_size=5)),
    "int": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "byte": (pa.uint8(), st.integers(0, 255)),
    "float": (pa.float32(), st.floats(width=32)),
    "bool": (pa.bool_(), st.booleans()),
    "list": (pa.list_(pa.float64()), st.lists(st.floats(), max_size=3)),
    "nested": (
        pa.list_(pa.list_(pa.int32())),
        st.lists(st.lists(st.integers(-9, 9), max_size=2), max_size=2),
    ),
    "words": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["u", "v", "wé", ""])),
    "time": (
        pa.timestamp("us"),
        st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1)),
    ),
    "fine time": (
        pa.timestamp("ns", "UTC"),
        st.datetimes(min_value=datetime(1700, 1, 1), max_value=datetime(2200, 1, 1)),
    ),
    "bytes": (pa.binary(), st.binary(max_size=4)),
    "struct": (
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        st.fixed_dictionaries({"bytes": st.binary(max_size=3), "path": st.just("x.png")}),
    ),
}


@st.composite
def parquet_tables(draw: st.DrawFn) -> tuple[pa.Table, dict[str, Any]]:
    """A table, and how it is written."""
    chosen = draw(st.lists(st.sampled_from(list(TYPES)), min_size=1, max_size=5, unique=True))
    count = draw(st.integers(0, 9))
    columns = {}
    for name in chosen:
        kind, strategy = TYPES[name]
        cells = st.lists(st.one_of(st.none(), strategy), min_size=count, max_size=count)
        columns[name] = pa.array(draw(cells), kind)
    how = {
        "row_group_size": draw(st.integers(1, 4)),
        "compression": draw(st.sampled_from(["none", "snappy", "zstd"])),
        "use_dictionary": draw(st.booleans()),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
    }
    return pa.table(columns), how


class TestParquet:
    @fuzz(60)
    @given(parquet_tables())
    def test_mixed_types_in_several_row_groups(
        self, folder: Path, drawn: tuple[pa.Table, dict[str, Any]]
    ) -> None:
        table, how = drawn
        path = folder / "table.parquet"
        pq.write_table(table, path, **how)
        columns, rows, bad = read(path)
        assert columns == tuple(table.column_names) and not bad
        wanted = {k: list(row.values()) for k, row in enumerate(table.to_pylist(), 1)}
        assert repr(rows) == repr(wanted)


def _to_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [1.5, None, 3.0], "b": ["x", "é", None]}), file)
    return file.getvalue()


SEEDS: dict[str, bytes] = {
    ".csv": 'a,b\n1,"x, y"\n2,"say ""z"""\n\n3,é\n'.encode(),
    ".tsv": "a\tb\n1\tx y\n2\tz\n".encode("utf-16"),
    ".jsonl": b'{"a": 1, "b": "x"}\n{"a": [1, 2]}\n{"b": null}\n',
    ".parquet": _to_parquet(),
}
suffixes = st.sampled_from([*SEEDS, ".ndjson"])
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 4), st.one_of(st.binary(max_size=3), st.just(b'"'))),
    min_size=1,
    max_size=4,
)
scraps = st.lists(
    st.sampled_from([*'ab1,;\t|"\n\r {}[]:', "é", "\0", "\ufeff", '"a"', '{"a": 1}', "\r\n"])
)


def check_anything(path: Path, content: bytes) -> None:
    """A right reading or a refusal; where a second way to read finds it damaged, a refusal."""
    path.write_bytes(content)
    found = try_read(path)
    if found is None:
        return
    columns, rows, bad = found
    file = open_table(path)
    if file.kind == "parquet":
        table = pq.read_table(path)
        assert repr(list(rows.values())) == repr([list(r.values()) for r in table.to_pylist()])
    elif file.kind == "csv":
        head, *records = parse(_decode(path), file.delimiter)
        assert columns == columns_of(head)
        fit = [row if len(row) == len(head) else [] for row in records]
        assert rows == numbered(fit)
        wrong = [f"row {k}" for k, row in enumerate(records, 1) if len(row) not in (0, len(head))]
        assert [b.id for b in bad] == wrong
    else:
        known = enumerate(map(try_json, re.split(r"\r\n|\r|\n", _decode(path))), 1)
        wanted = {k: [v.get(c) for c in columns] for k, v in known if isinstance(v, dict)}
        assert rows == {k: wanted[k] for k in rows}


def test_texts_of_parquet_that_are_no_utf_8(folder: Path) -> None:
    path = folder / "table.parquet"
    path.write_bytes(SEEDS[".parquet"].replace("é".encode(), b"\xff\xfe"))
    with pytest.raises(InputError, match=r"cannot be read: .*UTF8"):
        read(path)


def test_a_table_of_parquet_that_lost_rows(folder: Path) -> None:
    path = folder / "table.parquet"
    content = SEEDS[".parquet"]
    for place in range(5, len(content) // 2):  # among them the counts of the pages
        path.write_bytes(content[:place] + b'"' + content[place + 1 :])
        with suppress(InputError):
            assert len(read(path)[1]) == 3


def test_names_and_ids_with_line_ends_are_refused_in_one_line(folder: Path) -> None:
    for end in ("\n", "\r\n", "\u2028", "\u0085"):
        path = folder / "table.csv"
        rows = [["id", f"x{end}y", "split"], [f"a{end}b", "1", "nowhere"]]
        path.write_text(write_rows(rows, ",", "\n", csv.QUOTE_ALL), encoding="utf-8", newline="")
        for arguments in ({}, {"target": f"x{end}y", "modalities": ["z"]}, {"target": "id"}):
            with pytest.raises(InputError) as caught:
                make_plan(read_manifest(path, **arguments))
            assert len(str(caught.value).splitlines()) == 1


class TestAnything:
    @fuzz(80)
    @given(suffixes, st.binary(max_size=60))
    def test_random_bytes(self, folder: Path, suffix: str, content: bytes) -> None:
        check_anything(folder / f"any{suffix}", content)

    @fuzz(150)
    @given(st.sampled_from([".csv", ".tsv", ".jsonl"]), scraps)
    def test_scraps_of_tables(self, folder: Path, suffix: str, parts: list[str]) -> None:
        check_anything(folder / f"any{suffix}", "".join(parts).encode())

    @fuzz(150)
    @given(st.sampled_from(list(SEEDS)), edits)
    def test_damaged_files(
        self, folder: Path, suffix: str, changes: list[tuple[float, int, bytes]]
    ) -> None:
        check_anything(folder / f"any{suffix}", damage(SEEDS[suffix], changes))

    @pytest.mark.slow
    @fuzz(2500)
    @given(st.sampled_from(list(SEEDS)), edits)
    def test_many_damaged_files(
        self, folder: Path, suffix: str, changes: list[tuple[float, int, bytes]]
    ) -> None:
        check_anything(folder / f"any{suffix}", damage(SEEDS[suffix], changes))

    @pytest.mark.slow
    @fuzz(2500)
    @given(st.sampled_from([".csv", ".tsv", ".jsonl"]), scraps)
    def test_many_scraps(self, folder: Path, suffix: str, parts: list[str]) -> None:
        check_anything(folder / f"any{suffix}", "".join(parts).encode())


def damage(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """At each place (a share of the length), so many bytes are replaced by others."""
    for share, count, new in changes:
        place = int(share * len(content))
        content = content[:place] + new + content[place + count :]
    return content


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Rows of two classes with a number and a text, some of which are missing."""
    count = draw(st.integers(20, 40))
    number = st.one_of(
        st.none(), st.integers(-999, 999).map(float), st.floats(-9, 9).map(lambda n: round(n, 3))
    )
    text = st.one_of(
        st.none(), st.sampled_from([f"some{sign}words" for sign in PARTING]), st.just("a, b; c")
    )
    return pd.DataFrame(
        {
            "target": ["one", "two"] * (count // 2) + ["one"] * (count % 2),
            "x": [1.5] * 6 + draw(st.lists(number, min_size=count - 6, max_size=count - 6)),
            "note": ["to be"] * 6 + draw(st.lists(text, min_size=count - 6, max_size=count - 6)),
        }
    )


@fuzz(25)
@given(
    frames(),
    st.permutations(["target", "x", "note"]),
    st.sampled_from(["", "NA", "NaN", "null", "-"]),
    st.sampled_from([",", ";", "\t"]),
)
def test_what_is_planned_is_what_pandas_holds(
    folder: Path, frame: pd.DataFrame, order: list[str], missing: str, delimiter: str
) -> None:
    frame = frame[order]
    numbers = frame["x"].map(lambda x: missing if pd.isna(x) else repr(x))
    frame.assign(x=numbers).to_csv(folder / "plan.csv", index=False, sep=delimiter)
    frame.to_parquet(folder / "plan.parquet", index=False)
    frame.to_json(folder / "plan.jsonl", orient="records", lines=True)
    for suffix in (".csv", ".parquet", ".jsonl"):
        plan = make_plan(read_manifest(folder / f"plan{suffix}", modalities=["x", "note"]))
        assert plan.total == len(frame)
        known = {b.id for b in plan.bad}
        held = {row.id: row for row in plan.rows}
        for number, (x, note, target) in enumerate(
            zip(frame["x"], frame["note"], frame["target"], strict=True), 1
        ):
            gone = pd.isna(x) and pd.isna(note)  # a row without a modality is none
            assert (str(number) in known) == gone, plan.bad
            if gone:
                continue
            row = held[str(number)]
            assert row.target == target
            assert row.cells.get("note") == (None if pd.isna(note) else note)
            cell = row.cells.get("x")
            assert (cell is None) == pd.isna(x)
            if cell is not None:
                assert plan.readers["x"].read(cell).tolist() == [np.float32(x)]
