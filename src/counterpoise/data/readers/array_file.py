"""Arrays as they are kept: NumPy, MATLAB, HDF5, lists. Nothing that files hold is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from counterpoise.errors import InputError, show

from .base import Array, need
from .hdf5 import open_hdf5
from .number_words import to_number

HDF5 = b"\x89HDF\r\n\x1a\n"
MATLAB = b"MATLAB 7"  # files of HDF5 that begin so have their axes in the order of MATLAB
# What whosmat calls arrays of numbers.
NUMBERS = (
    "double",
    "single",
    "logical",
    *(f"{u}int{k}" for u in ("", "u") for k in (8, 16, 32, 64)),
)


def file_kind(path: Path) -> str:
    """``"npy"``, ``"npz"``, ``"hdf5"`` (MATLAB from v7.3 on too), ``"mat"``, or ``"text"``."""
    with path.open("rb") as file:
        start = file.read(520)
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(b"PK\x03\x04"):
        return "npz"
    if start.startswith(HDF5) or start[512:] == HDF5:
        return "hdf5"
    if start.startswith(b"MATLAB 5.0") or path.suffix.lower() == ".mat":
        return "mat"
    by_suffix = {".npy": "npy", ".npz": "npz", ".h5": "hdf5", ".hdf5": "hdf5"}
    return by_suffix.get(path.suffix.lower(), "text")


def read_npy(path: Path, peek: bool = False) -> Array:
    """The array of a ``.npy`` file; with ``peek``, its values are read when they are asked for."""
    try:
        return np.asarray(np.load(path, mmap_mode="r" if peek else None, allow_pickle=False))
    except Exception as error:  # a header that is damaged is parsed as Python's
        raise refuse_file(error, path) from None


def read_npz(path: Path, key: str | None) -> Array:
    """An array of a ``.npz`` file."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return np.asarray(file[_choose(key, dict.fromkeys(file.files, ""), path)])
    except InputError:
        raise
    except Exception as error:  # a damaged file can break the library anywhere
        raise refuse_file(error, path) from None


def read_matlab(path: Path, key: str | None) -> Array:
    """An array of a MATLAB file before v7.3."""
    from scipy.io import loadmat, whosmat

    try:
        held = {name: "" if kind in NUMBERS else kind for name, _, kind in whosmat(path)}
        name = _choose(key, held, path)
        return np.asarray(loadmat(path, variable_names=[name])[name])
    except InputError:
        raise
    except Exception:  # a damaged file can break the library anywhere
        raise InputError(f"{path.name} is no MATLAB file, or damaged") from None


def read_hdf5(path: Path, key: str | None) -> tuple[Array, bool]:
    """An array of an HDF5 file, and whether MATLAB wrote it, whose order of axes is then mended."""
    h5py = need("h5py", "media")
    with path.open("rb") as raw:
        matlab = raw.read(len(MATLAB)) == MATLAB or path.suffix.lower() == ".mat"
    try:
        with open_hdf5(path) as file:
            held: dict[str, str] = {}

            def note(name: str, item: Any) -> None:
                kind = _find_class(item, h5py)
                if kind is not None and not name.startswith("#"):  # what cells refer to
                    held[name] = kind

            file.visititems(note)
            parts = [name for name in held if held.get(name.rpartition("/")[0]) == "sparse"]
            held = {name: kind for name, kind in held.items() if name not in parts}
            chosen = file[_choose(key, held, path)]
            matlab = matlab or "MATLAB_class" in chosen.attrs
            if "MATLAB_empty" in chosen.attrs:  # what it holds are its sizes
                return np.zeros(tuple(int(n) for n in chosen[()])), matlab
            array = np.asarray(chosen)
    except InputError:
        raise
    except Exception:  # a damaged file can break the library anywhere
        raise InputError(f"{path.name} is no HDF5 file, or damaged") from None
    return (array.T if matlab else array), matlab


def _find_class(item: Any, h5py: Any) -> str | None:
    """What is wrong with an array, empty where nothing is; None where it is no array."""
    kind = item.attrs.get("MATLAB_class", b"")
    kind = kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)
    if "MATLAB_sparse" in item.attrs:
        return "sparse"
    if not isinstance(item, h5py.Dataset):
        return kind or None
    if item.dtype.names == ("real", "imag"):
        return "complex"
    if kind and kind not in NUMBERS:
        return kind
    return "" if item.dtype.kind in "biuf" else None


def _choose(key: str | None, held: Mapping[str, str], path: Path) -> str:
    """The name of the array of numbers: the only one, or the one that was asked for.

    Args:
        key: what was asked for.
        held: name -> what it is instead of an array of numbers, else empty.
        path: for errors.
    """
    names = sorted(name for name, kind in held.items() if not kind)
    others = sorted(f"{name} ({kind})" for name, kind in held.items() if kind)
    if key is None and len(names) == 1:
        return names[0]
    if key is not None and held.get(key):
        raise InputError(
            f"{path.name}: {key!r} must be an array of real numbers, found {held[key]}; save it so"
        )
    if key not in names:
        listing = ", ".join(names or others) or "no array"
        asked = (
            f"holds no {key!r}"
            if key is not None
            else "needs a key (--set COLUMN.key=NAME)"
            if names
            else ""
        )
        if not asked:
            raise InputError(f"{path.name} holds no array of real numbers, found {listing}")
        raise InputError(f"{path.name} {asked}; it holds {listing}")
    return str(key)


def refuse_file(error: Exception, path: Path) -> InputError:
    """The error for a file that NumPy cannot read."""
    with path.open("rb") as file:
        pickled = file.read(1) == b"\x80"
    if pickled or "Object arrays" in str(error):
        return InputError(
            f"{path.name} holds Python objects, which are not read since they can run programs"
        )
    return InputError(f"{path.name} is no NumPy file, or damaged")


def _is_list(part: Any) -> bool:
    """Whether this holds numbers, and is none."""
    return isinstance(part, list | tuple) or (isinstance(part, np.ndarray) and part.ndim > 0)


def read_lists(value: Any) -> Array:
    """float64 of lists of lists of numbers, NaN where there is none.

    Raises:
        InputError: lists of unequal lengths, or with something else in them.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    inner = [_is_list(part) for part in value]
    if not any(inner):
        try:
            return np.array([to_number(part) for part in value], dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"must hold numbers, found {show(value)}") from None
    if not all(inner):
        raise InputError(f"must hold lists of one depth, found a list beside {show(value)}")
    parts = [read_lists(part) for part in value]
    other = next((part for part in parts if part.shape != parts[0].shape), None)
    if other is not None:
        first = list(parts[0].shape)
        raise InputError(f"its lists differ in length, found {first} and {list(other.shape)}")
    return np.stack(parts)


def to_array(value: Array, real: bool = False) -> Array:
    """float32, float64, uint8 or int64 of any real numbers.

    Args:
        value: an array as it stands in a file.
        real: whole numbers are real ones: float64.
    """
    kind = value.dtype.kind
    if kind == "c":
        raise InputError(
            f"must hold real numbers, found {value.dtype}; save two arrays of its parts"
        )
    if kind not in "biuf":
        found = f"{value.dtype}" if value.ndim or kind != "O" else type(value.item()).__name__
        raise InputError(f"must hold numbers, found {found}")
    if real and kind != "f":
        return value.astype(np.float64)
    if kind == "b":
        return value.astype(np.uint8)
    if kind == "u" and value.size and int(value.max()) >= 2**63:
        raise InputError(f"must fit int64, found {int(value.max())}")
    if kind in "iu":
        return value if value.dtype == np.uint8 else value.astype(np.int64)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(value, np.float32 if value.dtype.itemsize <= 4 else np.float64)
