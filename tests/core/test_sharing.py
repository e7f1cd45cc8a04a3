"""What is packed for other processes is the same there, and its arrays are not copied."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from counterpoise.core import sharing
from counterpoise.core.executors import Processes
from counterpoise.core.sharing import LARGE, Parcel, pack
from counterpoise.core.workers import worker_place

SIZE = LARGE // 4 + 100  # float32 values of an array that is shared


@contextmanager
def opened(value: Any) -> Iterator[Any]:
    """The value as another process gets it, with the size of what was shared."""
    with pack(value) as parcel:
        memory = None if parcel._memory is None else os.dup(parcel._memory)
        yield Parcel(parcel._content, memory, parcel._size).open(), parcel


def test_values_types_and_shapes_stay() -> None:
    numbers = torch.randn(SIZE)
    values: dict[str, Any] = {
        "floats": numbers,
        "turned": torch.randn(300, 400).t(),
        "part": torch.randn(300, 400)[7:, 3:],
        "half": torch.randn(2 * SIZE).bfloat16(),
        "bools": torch.randn(4 * LARGE) > 0,
        "none of them": torch.empty(0),
        "small": torch.arange(3),
        "array": np.arange(SIZE, dtype=np.int64).reshape(-1, 2),
        "fortran": np.asfortranarray(np.random.default_rng(0).normal(size=(200, 300))),
        "words": np.array(["a", None] * LARGE, dtype=object),
        "weights": torch.randn(SIZE).requires_grad_(),
    }
    with opened(values) as (found, parcel):
        assert len(parcel._content) < 1.3 * len(
            pickle.dumps({key: values[key] for key in ("words", "weights")})
        )
        for key, value in values.items():
            assert type(found[key]) is type(value), key
            assert found[key].dtype == value.dtype and found[key].shape == value.shape, key
            same = torch.equal if isinstance(value, torch.Tensor) else np.array_equal
            assert same(found[key], value), key
        assert found["turned"].stride() == values["turned"].stride()
        assert found["weights"].requires_grad


def test_what_shares_memory_does_so_there() -> None:
    whole = torch.randn(SIZE)
    with opened([whole, whole[5:], whole]) as (found, parcel):
        assert parcel._size == whole.nbytes
        found[0][5] = 7
        assert found[1][0] == found[2][5] == 7


def test_a_process_that_writes_changes_nothing_of_others() -> None:
    value = torch.zeros(SIZE)
    with pack(value) as parcel:
        assert parcel._memory is not None
        one, two = (
            Parcel(parcel._content, os.dup(parcel._memory), parcel._size).open() for _ in range(2)
        )
        one.fill_(1)
        assert not two.any() and not value.any()


def test_without_memory_of_that_kind_a_file_without_a_name_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    value = torch.randn(SIZE)
    with opened(value) as (found, parcel):
        assert parcel._size and torch.equal(found, value)


def test_small_values_need_no_memory() -> None:
    with opened({"a": torch.arange(4), "b": "c"}) as (found, parcel):
        assert parcel._memory is None and found["b"] == "c"


def test_windows_gets_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing.sys, "platform", "win32")
    value = torch.randn(SIZE)
    with opened(value) as (found, parcel):
        assert parcel._memory is None and torch.equal(found, value)


class Sums:
    """Sums rows of a tensor, and tells where it lies, in which process."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def __call__(self, row: int, tell: Any) -> tuple[float, bool, int, int | None]:
        tell(row)
        shared = is_shared(self.values.data_ptr())
        return float(self.values[row].sum()), shared, os.getpid(), worker_place()


def is_shared(address: int) -> bool:
    """Whether an address lies in the memory of a parcel."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= address < last:
            return "memfd:counterpoise" in line
    return False


@pytest.mark.slow
def test_processes_read_what_is_shared_and_have_numbers() -> None:
    values = torch.randn(6, SIZE)
    heard: list[int] = []
    found = dict(Processes(2).run(Sums(values), range(6), heard.append))
    assert sorted(heard) == list(range(6))
    for row, (total, shared, process, place) in found.items():
        assert total == float(values[row].sum())
        assert shared and process != os.getpid() and place in (0, 1)
    pairs = {(process, place) for _, _, process, place in found.values()}
    assert len({place for _, place in pairs}) == len(pairs)
    assert worker_place() is None
