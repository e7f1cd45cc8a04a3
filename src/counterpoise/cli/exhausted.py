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


# C code that got no memory and forgot to say so.
UNSAID = "without exception set"


def is_exhausted(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says so; also in other words than MemoryError."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if _says_so(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _says_so(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN):
        return True
    said = str(error).lower()
    if isinstance(error, SystemError) and UNSAID in said:
        return True
    return isinstance(error, MemoryError) or any(word in said for word in SAID)
