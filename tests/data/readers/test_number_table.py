"""Tables of numbers in files of text: headings, units, comments, decimal commas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from folded import check_each

from counterpoise import InputError
from counterpoise.data.readers import ArrayFile
from counterpoise.data.readers.number_table import read_table

nan = float("nan")
TWO = [[1, 2.5], [3, -40]]


def test_tables_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"

    def check(text: str | bytes, wanted: list[list[float]] | str) -> None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        if isinstance(wanted, str):
            with pytest.raises(InputError, match=wanted) as error:
                read_table(path)
            assert "\n" not in str(error.value)
        else:
            np.testing.assert_array_equal(read_table(path), wanted)

    check_each(
        [
            ("x;y\n1;2,5\n3;-40\n", TWO),
            ("x\ty\n1\t2,5\n3\t-40\n", TWO),
            ("x,y\r\n1,2.5\r3,-40\n", TWO),
            ('"x","y z"\n"1","2.5"\n"3","-40"\n', TWO),
            ('"1,0","2,5"\n"3,0","-40,0"\n', TWO),
            ("time,acc 1\ns,m/s2\n1,2.5\n3,-40\n", TWO),
            ("x,,y\n1,,2.5\n", [[1, nan, 2.5]]),
            ("# x y\n# of 2\n1 2.5\n3 -40\n", TWO),
            ("#N/A,1\n2,3\n", [[nan, 1], [2, 3]]),
            ("1\t\t2\n3\t4\t5\n", [[1, nan, 2], [3, 4, 5]]),
            ("\t1\n2\t3\n", [[nan, 1], [2, 3]]),
            ("1,\t2.5\n3,\t-40\n", TWO),
            ("1,2\n3,4\n", [[1, 2], [3, 4]]),
            ("1,2,3;4,5,6\n", [[1, 2, 3, 4, 5, 6]]),
            ("x;y\n1;2,5\n3;-40\n".encode("utf-16"), TWO),
            ("1 2\x0b3\n", [[1, 2, 3]]),
            (",a,b\n0,1,2.5\n1,3,-40\n", TWO),
            (",0,1\n0,1,2.5\n1,3,-40\n", TWO),
            ("x\n1,5\n2,5\n", "has 1 names and 2 numbers a line; if commas are decimal"),
            ("0,1 1,5\n2,5 3,5\n", "a comma may be the decimal sign .*write numbers with a point"),
            ("1;1,234.5\n2;2,345.5\n", "part numbers or thousands"),
            ("1;1.234,5\n", "a comma may be the decimal sign"),
            ("1 2\n3\n", "its lines hold 2 and 1"),
            ("1 2\n1_0 3\n", "line 2, without comments, is '1_0 3'"),
            ("1 2\nx y\n", "is no table of numbers"),
            ("a\nb\nc\n1\n", "is no table of numbers"),
            ("words\n", "it holds words alone"),
            (b"\xff\xfe\x00", "is no table of numbers"),
            ("# a\n", "holds no numbers"),
            ("NA,NA\n", "holds no value that was measured"),
        ],
        check,
    )


def written(folder: Path, form: str, columns: int = 3) -> list[str]:
    paths = []
    for k in range(4):
        paths.append(str(folder / f"{k}.csv"))
        array = np.random.default_rng(k).normal(size=(6, columns))
        if form.startswith("pandas"):
            pd.DataFrame(array).to_csv(paths[-1], index=form == "pandas index")
        elif form == "doubled":
            frame = pd.DataFrame(array)
            frame.columns = pd.Index(["0", *(f"0.{k}" for k in range(1, columns))])
            frame.to_csv(paths[-1], index=False)
        else:
            np.savetxt(paths[-1], array, delimiter=",")
    return paths


def test_names_that_are_numbers_are_no_step(tmp_path: Path) -> None:
    def check(form: str, header: bool) -> None:
        cells = written(tmp_path, form)
        reader = ArrayFile().fit(cells)
        assert reader.header is header
        assert reader.read(cells[1]) == pytest.approx(
            np.random.default_rng(1).normal(size=(6, 3)).T.astype(np.float32)
        )

    check_each(
        [("pandas", True), ("pandas index", False), ("doubled", True), ("numpy", False)], check
    )
    cells = written(tmp_path, "pandas", columns=2)
    with pytest.raises(InputError, match=r"first line of each table is 0,1: .*COLUMN.header=true"):
        ArrayFile().fit(cells)
    reader = ArrayFile(header=True).fit(cells)
    assert reader.read(cells[0]).shape == (2, 6)
    kept = ArrayFile(header=False).fit(cells)
    assert kept.read(cells[0]).shape == (2, 7)
    Path(cells[0]).write_text("0.5,1\n2,3\n")
    with pytest.raises(InputError, match="has no heading of numbers, as others have"):
        reader.read(cells[0])
    with pytest.raises(InputError, match=r"COLUMN\.header=false"):
        ArrayFile().fit(cells[1:])
    assert ArrayFile().fit(cells).header is False  # one begins otherwise: all are numbers


def test_steps_that_count_from_one_are_steps(tmp_path: Path) -> None:
    def check(text: str, count: int, header: bool) -> None:
        cells = [str(tmp_path / f"{k}.csv") for k in range(count)]
        for cell in cells:
            Path(cell).write_text(text)
        assert ArrayFile().fit(cells).header is header

    check_each(
        [
            ("1,2\n3,4\n", 4, False),
            ("1,2,3\n3,4,5\n", 2, False),
            ("1,2,3\n3,4,5\n", 3, True),
            ("0,1,2\n3,4,5\n", 1, True),
            ("0,1,2\n", 4, False),  # nothing would be left
        ],
        check,
    )
