"""Numbers as people write them: decimal commas, odd forms, words for nothing, tables of text."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from folded import check_each
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoise import InputError
from counterpoise.core.labels import parse_label
from counterpoise.data.readers import READERS, Numbers
from counterpoise.data.readers.numbers import find_decimal, to_numbers
from counterpoise.data.target_values import HOLES

nan = float("nan")


def test_what_a_comma_means() -> None:
    def check(cells: list[Any], delimiter: str, wanted: str) -> None:
        if len(wanted) == 1:
            assert find_decimal(cells, delimiter) == wanted
            return
        with pytest.raises(InputError, match=wanted) as error:
            find_decimal(cells, delimiter)
        assert "--type COLUMN=numbers:decimal=, if" in str(error.value)

    check_each(
        [
            (["0,1;1,5", "2,5;3"], ",", ","),
            (["0,1\t1,5"], ",", ","),
            (["5,234", "0,5"], ";", ","),
            ([",5", "1,5"], ";", ","),
            (["5,234"], ",", "as in '5,234'"),
            (["1,2", "3,4"], ",", "decimal sign or part numbers or thousands"),
            (["1,2 3,4"], ",", "decimal sign or part numbers"),
            (["1,2", "3,4,5"], ",", "."),
            (["1, 2", "3,4"], ",", "."),
            (["1,2", "NA,4"], ",", "."),
            (["1,2", "3,"], ",", "."),
            (["1.5,2.5", "1,2"], ";", "."),
            (["1,234,567"], ",", "part numbers or thousands"),
            (["1,234.5", "12,345.0"], ",", "part numbers or thousands"),
            (["1,234.5", "1,23.5"], ",", "."),
            (["1.234,5", "12,5"], ";", "as in '1.234,5'"),
            (["0.5", "1,5"], ";", "as in '1,5' and '0.5'"),
            (["1.5", "[1,2]", 3, None, ""], ";", "."),
            (["Hello, you", "1,a"], ",", "."),
            ([], ",", "."),
        ],
        check,
    )


def test_what_the_refusal_names_works() -> None:
    for label, wanted in (("numbers:decimal=,", [5.25]), ("numbers", [5, 25])):
        assert READERS.build(label).read("5,25") == pytest.approx(wanted)
    assert parse_label("numbers:decimal=,") == ("numbers", {"decimal": ","})
    with pytest.raises(InputError, match="value for decimal"):
        Numbers(decimal=";")
    assert Numbers(count=1).settings() == {"type": "numbers", "count": 1}


def test_cells_with_decimal_commas() -> None:
    def check(cell: Any, wanted: list[float] | str) -> None:
        if isinstance(wanted, str):
            with pytest.raises(InputError, match=wanted):
                to_numbers(cell, ",")
        else:
            np.testing.assert_array_equal(to_numbers(cell, ","), wanted)

    check_each(
        [
            ("0,1;1,5", [0.1, 1.5]),
            ("0,1 ; NA;;-1,5e-3", [0.1, nan, nan, -0.0015]),
            ("3", [3]),
            ("[1.5, 2]", [1.5, 2]),
            (2.5, [2.5]),
            ("1.5", "is no number: '1.5'"),
            ("1.234,5", "is no number"),
            ("1,2,3", "is no number"),
        ],
        check,
    )


def test_odd_forms_are_no_numbers() -> None:
    def refuse(cell: Any, message: str = "is no number") -> None:
        with pytest.raises(InputError, match=message) as error:
            Numbers().read(cell)
        assert "\n" not in str(error.value) and len(str(error.value)) < 300
        assert isinstance(Numbers(count=1).read_many([cell])[0], InputError)

    odd = [
        "1_000",
        "\uff11\uff12",
        "\u0661",
        "0x10",
        "1\u00a0234",
        "1'234",
        "1.2.3",
        "+-3",
    ]
    odd += ["18 - 25", "- 5", "5 ?", "- -"]
    check_each(odd, refuse)
    check_each([b"1", 1j, {"a": 1}, np.datetime64("2020-01-01"), [b"1"], [object()]], refuse)
    side = "side by side"
    check_each(
        [
            (float("inf"), "finite"), ("-Infinity", "finite"), ("1e400", "finite"),
            (10**400, "finite"), (10**5000, "finite"), ([1, -(10**400)], "finite"),
            ("[1, Infinity]", "finite"), ("[" * 100_000, "no list"), ("[1_0]", "no list"),
            ([[1, 2]], side), ([], side), (np.ones((2, 2)), side),
            (np.array(["1"]), "real numbers"),
        ],
        refuse,
    )  # fmt: skip


def test_forms_that_are_numbers() -> None:
    check_each(
        [
            (" +3 ", [3]), ("1e5", [1e5]), (".5", [0.5]), ("1.", [1]), ("-.5E-1", [-0.05]),
            (True, [1]), ([True, False], [1, 0]), (np.bool_(True), [1]), (np.int8(3), [3]),
            (Decimal("2.5"), [2.5]), ((1, 2), [1, 2]), (["1.5", 2], [1.5, 2]), ("1\t2", [1, 2]),
            ("1, -, ?;-2 -3", [1, nan, nan, -2, -3]),
            ("[null, 1, NaN]", [nan, 1, nan]), (np.array(4), [4]), (np.float32(0.5), [0.5]),
        ],
        lambda cell, wanted: np.testing.assert_array_equal(to_numbers(cell), wanted),
    )  # fmt: skip


def test_words_for_nothing_are_those_of_targets() -> None:
    words = [word for word in HOLES if not word.startswith("inf")]
    for word in (*words, "", "-NaN", "NULL", " N/A "):
        reader = Numbers(count=2)
        assert reader.lacks(word) and reader.find_lacking([word, "1"]).tolist() == [True, False]
        np.testing.assert_array_equal(reader.read(f"1;{word}"), [1, nan])


WORDS = st.one_of(
    st.floats(width=32).map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(
        ["NA", "", "-", "inf", "1e400", "1_0", "x", "1,5", "1e39", "\u0661", " 7 ", "\x1c1"]
    ),
    st.text("0123456789.,;e+-_ []\u00a0na", max_size=6),
)
CELLS = st.one_of(
    WORDS,
    st.lists(WORDS, max_size=3).map(";".join),
    st.floats(),
    st.integers(-(10**400), 10**400),
    st.booleans(),
    st.none(),
    st.lists(st.one_of(st.floats(), st.integers(), st.none(), WORDS), max_size=3),
    st.sampled_from([b"1", np.float32(2.5), np.arange(2), (1, 2), Decimal("1.5"), "[1, 2]"]),
)
READER = st.builds(
    Numbers,
    count=st.sampled_from([None, 1, 2]),
    decimal=st.sampled_from([".", ","]),
    indicators=st.booleans(),
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Exception):
        return type(one) is type(other) and str(one) == str(other)
    return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)


@settings(max_examples=300, deadline=None)
@given(
    READER,
    st.one_of(
        st.lists(CELLS, max_size=5),
        st.lists(WORDS, max_size=5),
        st.lists(st.one_of(st.floats(), st.integers(-(10**400), 10**400)), max_size=5),
        st.lists(st.lists(st.floats() | st.integers(), min_size=2, max_size=2), max_size=5),
    ),
    st.booleans(),
)
def test_many_cells_are_read_as_each_is(reader: Numbers, cells: list[Any], wide: bool) -> None:
    if wide and reader.count is not None:
        moments = {"center": (1.7e9, 3.0)[: reader.count], "spread": (2.0, 0.3)[: reader.count]}
        reader = reader.changed("x", **moments)
    found = reader.read_many(cells)
    assert len(found) == len(cells)
    for cell, value in zip(cells, found, strict=True):
        assert same(value, reader._attempt(cell)), (cell, value)
    assert reader.find_lacking(cells).tolist() == [reader.lacks(cell) for cell in cells]
    for cell in cells:
        array = reader._try(cell)
        assert reader.lacks(cell) == (array is not None and bool(np.isnan(array).all())), cell


def test_how_many_numbers_of_a_long_column(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [f"{k} 1" if k % 3 else "5" for k in range(90)]
    whole = Numbers().fit(cells)
    monkeypatch.setattr("counterpoise.data.readers.numbers.FITTED", 30)
    assert Numbers().fit(cells) == whole == Numbers(count=2)
