"""Which axis of an array in a file is time: told by the training cells, or asked."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from folded import check_each
from scipy.io import savemat
from scipy.sparse import csr_matrix

from counterpoise import InputError
from counterpoise.data import make_plan, read_manifest
from counterpoise.data.catalogue.features import readers
from counterpoise.data.cells import read_cell, spec_of
from counterpoise.data.readers import ArrayFile, build_reader
from counterpoise.data.readers.time_axis import find_time

ASKS = r"--set COLUMN.axis=0 \(\[time, channels\]\) or --set COLUMN.axis=1"


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def save(folder: Path, arrays: list[np.ndarray], form: str = "npy") -> list[str]:
    paths = [str(folder / f"{k}.{form}") for k in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        if form == "npy":
            np.save(path, array)
        elif form == "csv":
            np.savetxt(path, array, delimiter=",")
        else:
            savemat(path, {"x": array})
    return paths


def test_time_is_the_axis_along_which_training_cells_differ(tmp_path: Path) -> None:
    lengths = (100, 90, 120, 80)

    def check(form: str, turned: bool) -> None:
        arrays = [values(n, 3).T if turned else values(n, 3) for n in lengths]
        cells = save(tmp_path, arrays, form)
        reader = ArrayFile().fit(cells)
        assert reader.axis == (1 if turned else 0) and reader.length == 120
        found = reader.read(cells[1])
        assert found.shape == (3, 120) and not found[:, 90:].any()
        np.testing.assert_allclose(found[:, :90], arrays[1] if turned else arrays[1].T)

    check_each(
        [("npy", False), ("npy", True), ("mat", False), ("mat", True), ("csv", False)], check
    )


def test_arrays_of_one_shape_are_asked_for(tmp_path: Path) -> None:
    cells = save(tmp_path, [values(3, 100)] * 4)
    with pytest.raises(InputError, match=rf"are all \[3, 100\]: which axis is time .*{ASKS}"):
        ArrayFile().fit(cells)
    with pytest.raises(InputError, match=r"all \[20, 20\]"):  # no picture, since it has a length
        ArrayFile(length=5).fit([values(20, 20)] * 3)
    assert ArrayFile(axis=1).fit(cells).read(cells[0]).shape == (3, 100)
    assert ArrayFile(axis=0).fit(cells).read(cells[0]).shape == (100, 3)
    assert ArrayFile(channels_first=False).fit(cells).read(cells[0]).shape == (3, 100)
    lines = ["id,target,acc"] + [f"{k},{'ab'[k % 2]},{k % 4}.npy" for k in range(20)]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    table = read_manifest(tmp_path / "table.csv")
    with pytest.raises(InputError, match=r"which axis is time does not show"):
        make_plan(table)
    plan = make_plan(table, options={"acc": {"axis": 1}})
    assert plan.specs["acc"] == {"": ("float32", (3, 100))}


def test_rule_for_shapes() -> None:
    def check(shapes: list[tuple[int, ...]], wanted: int | str | None) -> None:
        if isinstance(wanted, str):
            with pytest.raises(InputError, match=wanted):
                find_time(shapes)
        else:
            assert find_time(shapes) == wanted

    check_each(
        [
            ([(5,), (5,)], 0),
            ([(5,), (7,)], 0),
            ([(1, 9), (1, 9)], None),
            ([(9, 1), (1, 8)], None),
            ([(1, 1), (1, 1)], None),
            ([(9,), (1, 9)], None),
            ([(1, 9), (1, 8)], 1),
            ([(9, 1), (8, 1)], 0),
            ([(28, 28)] * 3, None),
            ([(28, 30), (32, 28)], "differ in several axes"),
            ([(128, 6)] * 9 + [(40, 6)], 0),  # windows, of which the last are shorter
            ([(100, 3)] * 9 + [(100, 6)], "differ in the shorter axis, as .100, 6."),
            ([(90 + k, 3) for k in range(19)] + [(50, 6)], 0),  # one bad row
            ([(90 + k, 3 + k % 2) for k in range(9)], "differ in several axes"),
            ([(3, 32, 32)] * 2, 0),
            ([(9, 32, 32), (8, 32, 32)], 0),
            ([(32, 32, 9), (32, 32, 8)], 2),
            ([(9, 30, 32), (8, 32, 30)], "differ in several axes, .* make them of one shape"),
        ],
        check,
    )
    assert find_time([(9, 3), (9, 3)], lines=True) == 0
    assert find_time([(1, 9), (1, 8), (1, 7)], lines=True) == 1


def test_series_are_no_pictures(tmp_path: Path) -> None:
    ragged = [values(n, 20) for n in (30, 25, 28)]
    assert ArrayFile().fit(ragged).sample_kind == "sequence"
    assert ArrayFile(axis=1).fit([values(20, 30)] * 3).sample_kind == "sequence"
    assert ArrayFile().fit(save(tmp_path, [values(30, 20)] * 3, "csv")).sample_kind == "sequence"
    picture = ArrayFile().fit([values(20, 30)] * 3)
    assert picture.sample_kind == "" and picture.read(values(20, 30)).shape == (20, 30)
    holed = values(20, 30)
    holed[3, 4] = np.nan
    with pytest.raises(
        InputError, match=r"\[20, 30\] in which values were not measured are no pic"
    ):
        ArrayFile().fit([values(20, 30), holed])


def test_older_settings_keep_their_meaning() -> None:
    old = {"type": "array", "key": None, "length": None, "axis": 0, "channels_first": True}
    reader = build_reader(old)
    assert reader.settings() == old and reader.read(values(3, 100)).shape == (100, 3)
    assert reader.read(values(1, 9)).shape == (9, 1)
    for cells in ([values(5)] * 3, [values(3, 8, 8)] * 3):
        assert ArrayFile().fit(cells).settings() == old
    ragged = [values(n, 3) for n in (4, 5)]
    assert ArrayFile().fit(ragged).settings() == old | {"length": 5}


def test_vectors_of_matlab(tmp_path: Path) -> None:
    def check(array: np.ndarray, wanted: list[float]) -> None:
        cells = save(tmp_path, [array] * 3, "mat")
        assert ArrayFile().fit(cells).read(cells[0]).tolist() == wanted

    check_each([(np.array(a), [1.0, 2.0, 3.0]) for a in ([1.0, 2, 3], [[1.0], [2], [3]])], check)
    check(np.array(7.0), [7.0])
    cells = save(tmp_path, [values(1, 5), values(1, 6), values(7, 1)], "mat")
    reader = ArrayFile().fit(cells)
    assert reader.length == 7 and [reader.read(cell).shape for cell in cells] == [(1, 7)] * 3
    with pytest.raises(InputError, match=r"has shape \[2, 3\], and which axis is time"):
        reader.read(values(2, 3))


def test_what_matlab_files_hold_besides(tmp_path: Path) -> None:
    savemat(
        tmp_path / "old.mat",
        {"s": csr_matrix(np.eye(3)), "c": "text", "z": np.ones(2) * 1j, "l": np.array([[{}]], "O")},
    )
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        for name, kind, held in (
            ("c", "char", np.array([[104], [105]], np.uint16)),
            ("e", "double", np.array([0, 3], np.uint64)),
        ):
            file[name] = held
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
        file["e"].attrs["MATLAB_empty"] = 1
        file["s/data"], file["s/ir"] = np.ones(3), np.arange(3)
        file["s"].attrs["MATLAB_sparse"] = 3
        file["z"] = np.zeros(2, dtype=[("real", "f8"), ("imag", "f8")])
        file["#refs#/a"] = np.ones(3)

    def check(name: str, key: str, message: str) -> None:
        with pytest.raises(InputError, match=message):
            ArrayFile(key=key).read(tmp_path / name)

    check_each(
        [
            ("old.mat", "s", "'s' must be an array of real numbers, found sparse; save it so"),
            ("old.mat", "c", "found char"),
            ("old.mat", "l", "found (cell|struct)"),
            ("old.mat", "z", "must hold real numbers, found complex128"),
            ("new.mat", "c", "found char"),
            ("new.mat", "s", "found sparse"),
            ("new.mat", "z", "found complex"),
            ("new.mat", "e", r"is empty: its shape is \[0, 3\]"),
            ("new.mat", "#refs#/a", "holds no '#refs#/a'; it holds e"),
        ],
        check,
    )


def test_whole_numbers_beside_fractions(tmp_path: Path) -> None:
    cells = save(tmp_path, [np.arange(4), np.ones(4) / 2, np.arange(4, dtype=np.uint8)])
    reader = ArrayFile().fit(cells)
    assert {reader.read(cell).dtype.name for cell in cells} == {"float32"}
    assert reader.read(cells[0]).tolist() == [0, 1, 2, 3]
    assert ArrayFile().fit(cells[:1]).read(cells[0]).dtype == np.int64
    assert build_reader(reader.settings()) == reader
    whole = ArrayFile().fit(cells[:1])
    with pytest.raises(InputError, match=r"others are int64 \[4\]; --set COLUMN.real=true reads"):
        read_cell(whole, cells[1], spec_of(whole.read(cells[0])))
    large = [np.array([2**53 + 1.0, 3]), np.array([2**53 + 3, 4])]
    assert ArrayFile().fit(large).center  # float32 would not tell them apart


def test_lists_of_lists() -> None:
    reader = ArrayFile().fit([[[1, 2], [3, 4], [5, None]], [[1, 2.5]]])
    found = reader.read([[1, 2], [3, "NA"]])
    assert (reader.axis, reader.length) == (0, 3) and found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1, 3, 0], [2, np.nan, 0]])
    nested = np.empty(2, dtype=object)  # as Parquet gives it
    nested[:] = [np.array([1.0, 2]), np.array([3.0, 4])]
    assert reader.read(nested).tolist() == [[1, 3, 0], [2, 4, 0]]
    assert reader.lacks([[None, "NA"]]) and not reader.lacks([[None, 1]])

    def check(cell: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            reader.read(cell)

    check_each(
        [
            ([[1, 2], [3]], r"its lists differ in length, found \[2\] and \[1\]"),
            ([[1, 2], 3], "lists of one depth"),
            ([[1, "x"]], r"must hold numbers, found \[1, 'x'\]"),
            ([[b"1"]], "must hold numbers"),
            ([[10**400]], "must hold numbers"),
        ],
        check,
    )


def test_features_of_the_catalogue_are_what_they_were() -> None:
    reader = readers()["audio"].fit([values(n, 5) for n in (7, 9)])
    assert reader.settings() == {
        "type": "features", "key": None, "length": 9, "axis": 0, "channels_first": True,
    }  # fmt: skip
    assert reader.read(values(7, 5)).shape == (5, 9)
