"""Errors of a machine that has no more to give, in the words of whoever meets them."""

from __future__ import annotations

import errno

import pytest

from counterpoise.cli.exhausted import is_exhausted


def raised_from(cause: BaseException) -> Exception:
    try:
        try:
            raise cause
        except BaseException:
            raise AttributeError("partially initialized module")  # noqa: B904  # as libraries do
    except AttributeError as error:
        return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "no memory"),
        RuntimeError("can't start new thread"),
        ImportError("libx.so: failed to map segment from shared object"),
        SystemError("error return without exception set"),
        SystemError("<built-in function exec> returned NULL without exception set"),
        raised_from(MemoryError()),
    ],
)
def test_exhausted(error: BaseException) -> None:
    assert is_exhausted(error)


@pytest.mark.parametrize(
    "error",
    [ValueError("3"), SystemError("bad argument to internal function"), raised_from(KeyError("a"))],
)
def test_a_fault_is_a_fault(error: BaseException) -> None:
    assert not is_exhausted(error)
