"""Worker processes that end with this process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any

from counterpoise.errors import InputError


@contextmanager
def pool(
    count: int, start: Callable[..., None], arguments: tuple[Any, ...]
) -> Iterator[ProcessPoolExecutor]:
    """A pool of new processes, each started by ``start(*arguments)``.

    An interrupt ends the processes at once; what they have finished is on disk.

    Raises:
        InputError: a process died, usually for lack of memory.
    """
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(count, context, start, arguments)
    try:
        yield executor
        executor.shutdown()
    except BrokenProcessPool:
        raise InputError(
            "a worker process died (out of memory?); run the same command again to go on, "
            "perhaps with fewer --jobs"
        ) from None
    except BaseException:
        for process in list((executor._processes or {}).values()):
            with suppress(ProcessLookupError):
                process.terminate()
        executor.shutdown(wait=False, cancel_futures=True)
        raise
