"""Worker processes that end with this process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import SpawnContext
from typing import Any, TypeVar

import torch

from counterpoise.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")

# What this process does with each job, and its number among the others, where it is a worker.
_worker: dict[str, Any] = {}


# Python's helper, which cleans up after a process that ended at once, would say so.
QUIET = "ignore::UserWarning:multiprocessing.resource_tracker"
MOST_JOBS = 1024  # processes at a time


def run_jobs(
    work: Callable[[Job], Result],
    jobs: Iterable[Job],
    count: int,
    *,
    threads: int = 1,
    poll: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Job, Result]]:
    """Each job and its result, in the order in which they are done.

    Args:
        work: what each process does with a job. It is sent once to each, with all that it holds.
        jobs: sent one by one, few ahead of those that are done.
        count: of processes.
        threads: of torch, in each process.
        poll: called a few times a second while processes work.

    Raises:
        InputError: a process died, usually for lack of memory.
    """
    left = iter(jobs)
    waiting: dict[Future[tuple[Result, list[tuple[str, type[Warning]]]]], Job] = {}
    with _open_pool(count, work, threads) as executor:
        while True:
            for job in islice(left, 2 * count - len(waiting)):
                with _uninterrupted():
                    waiting[executor.submit(_work, job)] = job
            if not waiting:
                break
            finished, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            poll()
            for future in finished:
                result, said = future.result()
                for text, category in said:
                    warnings.warn(text, category, stacklevel=2)
                yield waiting.pop(future), result


def worker_place() -> int | None:
    """The number, from 0, of this process among those of :func:`run_jobs`; else ``None``."""
    place: int | None = _worker.get("place")
    return place


def count_cores() -> int:
    """The cores that this process may use, which a scheduler of a cluster may have narrowed."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spawn_context() -> SpawnContext:
    """What makes processes that start afresh, and queues to them."""
    if QUIET not in sys.warnoptions:
        sys.warnoptions.append(QUIET)
    return multiprocessing.get_context("spawn")


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Keep Ctrl-C for later; processes that are started meanwhile never see it.

    It reaches all processes of a terminal: what it ends, ends by the one that started the others.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this process as soon as the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "called where another process started this one"

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="counterpoise-parent", daemon=True).start()


def _start(work: Callable[[Any], Any], threads: int, places: Any) -> None:
    end_with_parent()
    torch.set_num_threads(threads)
    _worker["work"], _worker["place"] = work, places.get()


def _work(job: Any) -> tuple[Any, list[tuple[str, type[Warning]]]]:
    """The result, and what was warned of: it is said once, by the process that asked."""
    with warnings.catch_warnings(record=True) as caught:
        result = _worker["work"](job)
    return result, [(str(found.message), found.category) for found in caught]


@contextmanager
def _open_pool(
    count: int, work: Callable[[Any], Any], threads: int
) -> Iterator[ProcessPoolExecutor]:
    """Processes started afresh.

    What is interrupted ends its processes at once: what they finished is on disk.
    """
    context = spawn_context()
    places = context.SimpleQueue()
    for place in range(count):  # a few bytes each; a pipe holds those of MOST_JOBS
        places.put(place)
    executor = ProcessPoolExecutor(count, context, _start, (work, threads, places))
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
