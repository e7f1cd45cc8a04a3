"""Pickles of plain values and NumPy arrays, read without running anything that they name."""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.sizes import format_size
from counterpoise.data.readers.base import existing
from counterpoise.errors import InputError

LIMIT = 32 << 30  # bytes
# Numbers, bytes and texts of one size; no records, dates or pointers of any other kind.
PLAIN = re.compile(r"[<>|=]?(b1|i[1248]|u[1248]|f[248]|c8|c16|[SUa]\d{1,6})")
REASON = "only NumPy arrays and plain containers are read, all else could run code"


class _Source:
    """A file that never promises more than it holds, however long a pickle says its parts are."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size

    def read(self, count: int = -1) -> bytes:
        if count > self.size - self.file.tell():
            raise EOFError("it ends too early")
        return self.file.read(count)

    def readline(self) -> bytes:
        return self.file.readline()


class _Type:
    """A dtype on its way: what ``numpy.dtype`` and the state after it say."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code = code
        self.order: Literal["<", ">", "="] = "="

    def set(self, state: Any) -> None:
        # (version, byte order, subarray, field names, fields, size, alignment, flags): size and
        # flags follow from the code, and lies about them would damage memory.
        if not isinstance(state, tuple) or len(state) < 5 or any(x is not None for x in state[2:5]):
            raise InputError(f"an array of records is refused ({REASON})")
        orders: dict[str, Literal["<", ">"]] = {"<": "<", ">": ">"}
        self.order = orders.get(_text(state[1]), "=")

    def real(self) -> np.dtype[Any]:
        if self.code in ("O", "O8", "|O", "|O8"):
            return np.dtype(object)
        if not PLAIN.fullmatch(self.code):
            raise InputError(f"an array of type {self.code!r} is refused ({REASON})")
        found: np.dtype[Any] = np.dtype(self.code.replace("a", "S"))
        return found if self.order == "=" else found.newbyteorder(self.order)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("latin1")
    if isinstance(value, str):
        return value
    raise InputError(f"{type(value).__name__} where a text belongs is refused")


def _dtype(code: Any, *_: Any) -> _Type:
    return _Type(_text(code))


def _real(kind: Any) -> np.dtype[Any]:
    if not isinstance(kind, _Type):
        raise InputError(f"an array of type {type(kind).__name__} is refused ({REASON})")
    return kind.real()


def _shape(value: Any, count: int) -> tuple[int, ...]:
    """``value``, if it is a shape of ``count`` values."""
    sizes = value if isinstance(value, tuple) else (value,)
    whole = len(sizes) <= 32 and all(type(n) is int and n >= 0 for n in sizes)
    if not whole or math.prod(sizes) != count:
        raise InputError(f"an array of {count} values in another shape is refused")
    return sizes


def _raw(data: Any, kind: np.dtype[Any]) -> tuple[bytes, int]:
    """The bytes of an array, and how many values they are."""
    raw = bytes(data) if isinstance(data, bytearray) else data
    raw = _text(raw).encode("latin1") if isinstance(raw, str) else raw  # of Python 2
    if not isinstance(raw, bytes) or kind.hasobject or len(raw) % kind.itemsize:
        raise InputError(f"an array of {kind} that are not its bytes is refused")
    return raw, len(raw) // kind.itemsize


def _blank(kind: Any, *_: Any) -> NDArray[Any]:
    """``_reconstruct``: the array that its state will fill."""
    if kind is not np.ndarray:
        raise InputError(f"an array of a class of its own is refused ({REASON})")
    return np.empty(0)


def _fill(array: Any, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise InputError("an array with an unknown state is refused")
    shape, kind, fortran, data = state[-4:]
    real = _real(kind)
    if not real.hasobject:
        raw, count = _raw(data, real)
        array.__setstate__((1, _shape(shape, count), real, bool(fortran), raw))
    elif isinstance(data, list):
        array.__setstate__((1, _shape(shape, len(data)), real, bool(fortran), data))
    else:
        raise InputError("an array of objects that are not in a list is refused")


def _from_buffer(data: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> NDArray[Any]:
    real = _real(kind)
    raw, count = _raw(data, real)
    values: NDArray[Any] = np.frombuffer(raw, real, count)
    values = values.reshape(_shape(shape, count), order="F" if order == "F" else "C")
    if order == "K" and axes is not None:
        values = values.transpose(axes)
    return values


def _scalar(kind: Any, data: Any) -> Any:
    real = _real(kind)
    raw, count = _raw(data, real)
    _shape((), count)
    return np.frombuffer(raw, real, count)[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Bytes as protocols before 3 have them."""
    return _text(text).encode("utf-8" if encoding == "utf-8" else "latin1")


def _maker(kind: type[Any]) -> Callable[..., Any]:
    """A container from another; from a number, bytes would be as long as it says."""

    def make(content: Any = (), encoding: Any = "latin1") -> Any:
        if isinstance(content, str):
            content = _encode(content, encoding)
        if not isinstance(content, SEQUENCES):
            raise InputError(f"{kind.__name__} of {type(content).__name__} is refused")
        return kind(content)

    return make


def _default_dict(factory: Any = None, *content: Any) -> defaultdict[Any, Any]:
    for kind in (list, dict, set):
        if factory is CONTAINERS[kind.__name__]:
            return defaultdict(kind, *content)
    if factory not in (None, *NUMBERS):
        raise InputError(f"a defaultdict with a factory of its own is refused ({REASON})")
    return defaultdict(factory, *content)


SEQUENCES = (list, tuple, dict, set, frozenset, bytes, bytearray)
NUMBERS = (int, float)  # as factories; never called from here
CONTAINERS: dict[str, Any] = {kind.__name__: _maker(kind) for kind in SEQUENCES} | {
    "complex": complex,
    "int": int,
    "float": float,
}
ALLOWED: dict[tuple[str, str], Any] = {
    **{(module, n): x for module in ("builtins", "__builtin__") for n, x in CONTAINERS.items()},
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _default_dict,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    **{
        (f"numpy.{core}.{module}", name): made
        for core in ("core", "_core")
        for module, name, made in (
            ("multiarray", "_reconstruct", _blank),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}
CALLED = [made for made in ALLOWED.values() if made not in (np.ndarray, *NUMBERS)]


class _Unpickler(pickle._Unpickler):  # the one in Python: its steps can be replaced
    """Calls nothing but what stands in :data:`ALLOWED`, and sets no attribute of anything."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise InputError(f"it names {module}.{name}, which is refused: {REASON}")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise InputError(f"it names an object outside of it, or is no pickle: {REASON}")

    def get_extension(self, code: int) -> None:
        raise InputError(f"it names a registered extension, which is refused: {REASON}")

    def _instantiate(self, *_: Any) -> None:
        raise InputError(f"it makes an object of a class, which is refused: {REASON}")

    def call(self) -> None:
        arguments = self.stack.pop()
        made = self.stack[-1]
        if not any(made is known for known in CALLED):
            raise InputError(f"it calls {type(made).__name__}, which is refused: {REASON}")
        self.stack[-1] = made(*arguments)

    def build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, _Type):
            made.set(state)
        elif isinstance(made, np.ndarray):
            _fill(made, state)
        else:
            raise InputError(f"it sets the state of {type(made).__name__}, which is refused")

    dispatch[pickle.REDUCE[0]] = call
    dispatch[pickle.BUILD[0]] = build
    dispatch[pickle.NEWOBJ[0]] = dispatch[pickle.NEWOBJ_EX[0]] = _instantiate


def read_pickle(path: Path | str, limit: int = LIMIT) -> Any:
    """What a pickle holds: plain values, containers, NumPy arrays; texts of Python 2 as latin-1.

    Nothing that the file names is imported or called, and no size that it claims is believed.

    Args:
        path: of the file.
        limit: bytes that a file may have.

    Raises:
        InputError: a file that is not there, too large, cut short or no pickle; one that names
            anything else, with the name.
    """
    path = existing(path)
    size = _size(path, limit)
    with path.open("rb") as file:
        return _load(path, file, size)


def read_npy(path: Path | str, limit: int = LIMIT) -> Any:
    """The array of an .npy file; where it holds objects, these, read as :func:`read_pickle` does.

    Args:
        path: of the file.
        limit: bytes that a file of objects may have; numbers stay on the disk (memory-mapped).

    Raises:
        InputError: as :func:`read_pickle`.
    """
    path = existing(path)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0
            head = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
            if head[2].hasobject:
                found = _load(path, file, _size(path, limit))
                plain = isinstance(found, np.ndarray) and found.ndim == 0
                return found.item() if plain else found
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(f"{path} cannot be read as .npy ({_words(error)})") from None


def _size(path: Path, limit: int) -> int:
    size = path.stat().st_size
    if size > limit:
        raise InputError(f"{path} has {format_size(size)}, more than {format_size(limit)}")
    return size


def _load(path: Path, file: BinaryIO, size: int) -> Any:
    try:
        return _Unpickler(_Source(file, size), encoding="latin1").load()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # a damaged file can fail in any way
        raise InputError(
            f"{path} is cut short, damaged or no pickle ({_words(error)}); download it again"
        ) from None


def _words(error: Exception) -> str:
    reason = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {reason:.200}"
