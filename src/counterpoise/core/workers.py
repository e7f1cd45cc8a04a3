"""Processes that work beside this one, and end with it."""

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
    """Processes started afresh, each by ``start(*arguments)``.

    What is interrupted ends its processes at once: what they finished is on disk.

    Raises:
        InputError: a process died, of too little memory as a rule.
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
