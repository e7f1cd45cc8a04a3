"""What several processes need, sent to each of them, with its arrays in memory once for all."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import reduction
from typing import Any

import numpy as np
import torch
from torch import Tensor

LARGE = 1 << 16  # bytes from which an array is shared; smaller ones are copied
ALIGNED = 64  # bytes: where arrays begin, as allocators do it


class Parcel:
    """A value on its way to processes of this machine: a pickle, and a memory for its arrays.

    The memory has no name: it ends with the last process that has it open, however that ended, so
    that kills leave nothing. A process that writes to such an array changes a page of its own.
    """

    def __init__(self, content: bytes, memory: int | None, size: int) -> None:
        self._content, self._memory, self._size = content, memory, size

    def __getstate__(self) -> dict[str, Any]:
        """For a process that is being started (``multiprocessing``), which gets the open file."""
        memory = None if self._memory is None else reduction.DupFd(self._memory)
        return {"_content": self._content, "_memory": memory, "_size": self._size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state["_memory"] is not None:
            self._memory = state["_memory"].detach()

    def open(self) -> Any:
        """The value; call it once a process."""
        if self._memory is None:
            return pickle.loads(self._content)  # what this program sent, never a file
        view = mmap.mmap(self._memory, self._size, access=mmap.ACCESS_COPY)
        os.close(self._memory)
        return _Unpacker(self._content, view).load()


@contextmanager
def pack(value: Any) -> Iterator[Parcel]:
    """A value for processes that are started within the block; see :class:`Parcel`.

    Tensors on the host and NumPy arrays of 64 KiB and more are written once to memory that all of
    them map; whatever shares memory does so there, too.
    """
    buffer = io.BytesIO()
    if sys.platform == "win32":  # where no open file can be handed on
        pickle.Pickler(buffer).dump(value)
        yield Parcel(buffer.getvalue(), None, 0)
        return
    with _open_memory() as memory:
        packer = _Packer(buffer, memory)
        packer.dump(value)
        memory.flush()
        size = packer.size
        yield Parcel(buffer.getvalue(), memory.fileno() if size else None, size)


def write_apart(value: Any, memory: Any, pickler: type[pickle.Pickler]) -> bytes:
    """The pickle of a value, by a pickler of this kind; its large arrays go to a file."""
    buffer = io.BytesIO()
    kind: Any = type("_Apart", (_Packer, pickler), {})
    kind(buffer, memory).dump(value)
    return buffer.getvalue()


def read_apart(content: bytes, view: Any) -> Any:
    """The value of :func:`write_apart`; its arrays lie in ``view``, a buffer of it."""
    return _Unpacker(content, view).load()


def _open_memory() -> Any:
    """A new file without a name: in memory where the system has that, else on the disk."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("counterpoise"), "r+b")
    return tempfile.TemporaryFile()


class _Packer(pickle.Pickler):
    """Writes large arrays to a file, and of each where it is."""

    def __init__(self, buffer: io.BytesIO, memory: Any) -> None:
        super().__init__(buffer)
        self.size, self._memory = 0, memory
        self._places: dict[Any, int] = {}
        self._kept: list[Any] = []  # so that no address is used twice

    def persistent_id(self, value: Any) -> Any:
        if type(value) is Tensor and _is_plain(value):
            storage = value.untyped_storage()
            if storage.nbytes() >= LARGE:
                whole = torch.empty(0, dtype=torch.uint8).set_(storage)
                start = self._put(("tensor", storage.data_ptr()), whole.numpy())
                shape = tuple(value.shape), value.stride(), value.storage_offset()
                return "tensor", start, storage.nbytes(), value.dtype, *shape
        if type(value) is np.ndarray and value.nbytes >= LARGE and not value.dtype.hasobject:
            start = self._put(("array", id(value)), np.ascontiguousarray(value))
            return "array", start, value.nbytes, value.dtype, value.shape
        return None

    def _put(self, name: Any, values: np.ndarray[Any, Any]) -> int:
        """Where these bytes begin; written the first time."""
        if name not in self._places:
            self._kept.append(values)
            start = -(-self.size // ALIGNED) * ALIGNED
            self._memory.seek(start)
            self._memory.write(values.reshape(-1).view(np.uint8).data)
            self._places[name], self.size = start, start + values.nbytes
        return self._places[name]


def _is_plain(tensor: Tensor) -> bool:
    """Whether nothing but its bytes, type and shape makes a tensor."""
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    marked = tensor.requires_grad or tensor.is_conj() or tensor.is_neg() or tensor.is_quantized
    return plain and not marked and not tensor.__dict__


class _Unpacker(pickle.Unpickler):
    """Finds the arrays that :class:`_Packer` wrote."""

    def __init__(self, content: bytes, view: Any) -> None:
        super().__init__(io.BytesIO(content))
        self._view = view

    def persistent_load(self, name: Any) -> Any:
        kind, start, size, dtype, shape, *more = name
        if kind == "array":
            flat = np.frombuffer(self._view, np.uint8, size, start)
            return flat.view(dtype).reshape(shape)
        stride, offset = more
        whole = torch.frombuffer(self._view, dtype=torch.uint8, count=size, offset=start)
        return torch.empty(0, dtype=dtype).set_(whole.untyped_storage(), offset, shape, stride)
