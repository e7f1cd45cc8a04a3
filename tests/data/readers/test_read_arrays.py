"""Arrays in files and numbers in cells: formats, lengths, types, what is refused."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from counterpoise import InputError
from counterpoise.data.readers import ArrayFile, Numbers

STEPS = np.arange(12.0).reshape(4, 3)  # [T, C]


def written(folder: Path, name: str, array: np.ndarray) -> Path:
    """The array in the format that the suffix says."""
    path = folder / name
    suffix = path.suffix
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".npz":
        np.savez_compressed(path, pose=array)
    elif name == "new.mat":  # as MATLAB writes since v7.3: HDF5 behind 512 bytes, columns first
        with h5py.File(path, "w", userblock_size=512) as file:
            file["pose"] = array.T
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file".ljust(512))
    elif suffix == ".mat":
        savemat(path, {"pose": array})
    elif suffix in (".h5", ".hdf5"):
        with h5py.File(path, "w") as file:
            file.create_group("a")["pose"] = array
    else:
        separator = {".csv": ",", ".tsv": "\t"}.get(suffix, "  ")
        path.write_text("\n".join(separator.join(map(str, row)) for row in array.tolist()))
    return path


NAMES = ["a.npy", "a.npz", "old.mat", "new.mat", "a.h5", "a.hdf5", "a.csv", "a.tsv", "a.txt"]


@pytest.mark.parametrize("name", NAMES)
def test_every_format(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, STEPS)
    found = ArrayFile().read(path)  # nothing is known of time: as it stands
    assert found.dtype == np.float32 and found.tolist() == STEPS.tolist()
    assert ArrayFile(axis=0).read(path).tolist() == STEPS.T.tolist()
    assert ArrayFile(channels_first=False).read(str(path)).tolist() == STEPS.tolist()
    longer = ArrayFile(length=6, axis=0).read(path)
    assert longer.shape == (3, 6) and longer[:, :4].tolist() == STEPS.T.tolist()
    assert not longer[:, 4:].any()
    assert ArrayFile(length=2, axis=0).read(path).tolist() == STEPS[:2].T.tolist()
    assert ArrayFile(length=2, axis=1).read(path).tolist() == STEPS[:, :2].tolist()
    other = written(tmp_path, f"b{path.suffix}", np.arange(21.0).reshape(7, 3))
    fitted = ArrayFile().fit([path, tmp_path / "none.npy", other])
    assert fitted.length == 7 and fitted.read(path).shape == (3, 7) and fitted.axis == 0
    assert ArrayFile(axis=0).fit([path, path]).length is None


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_of_every_format(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, np.random.default_rng(0).normal(size=(300, 3)))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if path.suffix[1] in "nmh" else b"\xff\xfe\0")
    with pytest.raises(InputError, match=rf"{path.name} is no \w+ \w+.*(, or damaged|numbers.*)$"):
        ArrayFile().read(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=rf"{path.name} is no \w+ \w+.*(, or damaged|numbers.*)$"):
        ArrayFile().read(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=f"{path.name} is empty"):
        ArrayFile().read(path)


@pytest.mark.parametrize("name", ["a.npy", "old.mat", "a.h5"])
def test_damage_breaks_no_library(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, STEPS)
    whole, refused = path.read_bytes(), 0
    for place in range(0, min(len(whole), 2000), 13):
        damaged = bytearray(whole)
        damaged[place] ^= 0b0101_0101
        path.write_bytes(damaged)
        try:
            ArrayFile().read(path)
        except InputError:
            refused += 1
    assert refused > 3


def test_types_that_are_kept(tmp_path: Path) -> None:
    for given, kept in (
        ("bool", "uint8"), ("uint8", "uint8"), ("int8", "int64"), ("uint16", "int64"),
        ("int64", "int64"), ("float16", "float32"), (">f8", "float32"),
    ):  # fmt: skip
        found = ArrayFile().read(written(tmp_path, "a.npy", np.ones((2, 3), dtype=given)))
        assert found.dtype == kept and found.shape == (2, 3) and (found == 1).all()
    array = np.arange(6.0).reshape(3, 2)
    assert ArrayFile(length=4, axis=0).read(array).shape == (2, 4)  # a cell that is the array


def test_vectors_and_waves(tmp_path: Path) -> None:
    vectors = [written(tmp_path, f"{k}.npy", np.ones(n)) for k, n in enumerate((5, 5, 5, 4))]
    reader = ArrayFile().fit(vectors)
    assert reader.length is None and reader.read(vectors[0]).shape == (5,)
    waves = [written(tmp_path, f"{k}.npy", np.ones(n)) for k, n in enumerate((5, 7, 6, 4))]
    reader = ArrayFile().fit(waves)
    assert reader.length == 7 and reader.read(waves[0]).shape == (1, 7)
    long = written(tmp_path, "long.npy", np.ones(5000))
    assert ArrayFile().fit([*waves, long]).length == 4096
    (tmp_path / "line.txt").write_text("1 2 3\n")
    (tmp_path / "column.csv").write_text("﻿value\n1\n2\n")
    assert ArrayFile().read(tmp_path / "line.txt").tolist() == [1, 2, 3]
    assert ArrayFile().read(tmp_path / "column.csv").tolist() == [1, 2]
    reader = ArrayFile().fit([written(tmp_path, "a.csv", STEPS), tmp_path / "line.txt"])
    assert reader.length == 4 and reader.read(tmp_path / "line.txt").shape == (3, 4)


def test_tables_with_headings_and_other_separators(tmp_path: Path) -> None:
    for text in ("x;y\n1;2.5\n3;-4e1\n", "x, y\n1, 2.5\n3, -4e1\n\n", " 1 2.5\n 3\t-4e1"):
        (tmp_path / "a.csv").write_text(text)
        assert ArrayFile(axis=0).read(tmp_path / "a.csv").tolist() == [[1, 3], [2.5, -40]]
    for text, message in (
        ("a b c\nd e f\n", "is no table of numbers"),
        ("1 2\n3\n", "is no table of numbers"),
        ("1 2\nx y\n", "is no table of numbers"),
        ("\n \n", "holds no numbers"),
    ):
        (tmp_path / "a.csv").write_text(text)
        with pytest.raises(InputError, match=f"a.csv {message}"):
            ArrayFile().read(tmp_path / "a.csv")


def test_files_of_several_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", pose=STEPS, other=np.array([{}], dtype=object))
    savemat(tmp_path / "a.mat", {"pose": STEPS, "other": np.ones(2), "about": {"x": 1}})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pose"], file["other"], file["name"] = STEPS, np.ones(2), "text"
    for name in ("a.npz", "a.mat", "a.h5"):
        path = tmp_path / name
        assert ArrayFile(key="pose").read(path).tolist() == STEPS.tolist()
        with pytest.raises(InputError, match=f"{name} needs a key .*; it holds other, pose"):
            ArrayFile().read(path)
        with pytest.raises(InputError, match=f"{name} holds no 'x'; it holds other, pose"):
            ArrayFile(key="x").read(path)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["pose"] = h5py.ExternalLink(str(tmp_path / "a.h5"), "pose")
    with pytest.raises(InputError, match=r"link.h5 points at another file, which is not read"):
        ArrayFile(key="pose").read(tmp_path / "link.h5")


class Trap:
    """Pickled, it would write a file when it is read."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (Path("trapped"), "x")


def test_nothing_pickled_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    array = np.array([Trap()], dtype=object)
    np.save("a.npy", array)
    np.savez("a.npz", array)
    Path("b.npy").write_bytes(pickle.dumps(Trap()))
    with zipfile.ZipFile("b.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Trap()))
    for name in ("a.npy", "a.npz", "b.npy"):
        with pytest.raises(InputError, match=f"{name} holds Python objects, which are not read"):
            ArrayFile().read(tmp_path / name)
    with pytest.raises(InputError):
        ArrayFile().read(tmp_path / "b.npz")
    assert not Path("trapped").exists()


def test_values_that_cannot_be_learnt_from(tmp_path: Path) -> None:
    for array, message in (
        (np.array([np.nan]), "holds no value that was measured"),
        (np.array([2**64 - 1], dtype=np.uint64), "must fit int64, found 18446744073709551615"),
        (np.full((1, 1, 1, 2), [1, np.nan]), "must hold finite numbers in arrays of four axes"),
        (np.array([1, np.inf]), "must hold finite numbers"),
        (np.array([1e300]), "must hold finite numbers"),
        (np.array([1j]), "must hold real numbers, found complex128"),
        (np.array(["a"]), "must hold numbers, found <U1"),
        (np.zeros((0, 3)), r"is empty: its shape is \[0, 3\]"),
    ):
        with pytest.raises(InputError, match=message):
            ArrayFile().read(array)
    with pytest.raises(InputError, match="holds no time step"):
        ArrayFile(length=3, axis=0).read(np.zeros((0, 3)))
    for axis in (1, -2):
        with pytest.raises(InputError, match=rf"has no axis {axis}: its shape is \[4\]"):
            ArrayFile(length=3, axis=axis).read(np.zeros(4))
    with pytest.raises(InputError, match=r"none.npy is not there"):
        ArrayFile().read(tmp_path / "none.npy")
    for options, message in (({"length": 0}, "length must be"), ({"axis": 1.5}, "axis must be")):
        with pytest.raises(InputError, match=message):
            ArrayFile().changed("x", **options)


@pytest.mark.parametrize(
    ("cell", "values"),
    [
        (3, [3]), (2.5, [2.5]), ("7", [7]), (" 1.5 2  3 ", [1.5, 2, 3]), ("1,2;3", [1, 2, 3]),
        ("1, -2e3", [1, -2000]), ("[1, 2]", [1, 2]), ([1, 2.5], [1, 2.5]), (np.ones(2), [1, 1]),
    ],
)  # fmt: skip
def test_numbers(cell: object, values: list[float]) -> None:
    found = Numbers().read(cell)
    assert found.dtype == np.float32 and found.tolist() == values


def test_how_many_numbers() -> None:
    reader = Numbers().fit(["1 2", "x", "3 4", "5", "6 7"])
    assert reader.count == 2 and reader.read("8 9").tolist() == [8, 9]
    with pytest.raises(InputError, match="must hold 2 numbers, found 1"):
        reader.read("5")
    assert Numbers(count=3).fit(["1"]).count == 3
    for cell, message in (
        ("one", "is no number: 'one'"),
        ("", "holds no value that was measured"),
        ("[1, ", "is no list of numbers"),
        ("[]", "must be numbers side by side"),
        ([[1, 2]], "must be numbers side by side"),
        ("nan", "holds no value that was measured"),
        (float("inf"), "must be finite numbers"),
    ):
        with pytest.raises(InputError, match=message):
            Numbers().read(cell)
