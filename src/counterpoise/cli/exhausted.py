"""Errors that say that the machine has no more memory, threads or files to give."""

from __future__ import annotations

import errno

EXHAUSTED = (
    "the memory (or the number of threads) that this process may have is used up; choose a smaller "
    "--batch-size, --width or model, fewer --jobs, or allow more (ulimit -v, ulimit -u)"
)
# What libraries say: allocators of torch and NumPy, threads, and the loader of shared libraries.
SAID = (
    "can't allocate memory",
    "cannot allocate memory",
    "unable to allocate",
    "out of memory",
    "can't start new thread",
    "failed to map segment",
    "bad_alloc",
    "too many open files",
    "resource temporarily unavailable",
)


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says so; also in other words than those of :class:`MemoryError`."""
    if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN):
        return True
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in SAID)
