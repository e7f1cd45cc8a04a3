"""Where the runs of a comparison are carried out: in this process, in others, or elsewhere."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from counterpoise.errors import check_number

from .workers import MOST_JOBS, run_jobs, spawn_context

Job = TypeVar("Job")
Result = TypeVar("Result")
Tell = Callable[[Any], None]


class Executor(ABC):
    """Carries out jobs; the process that asks is the only one that writes what they give."""

    @abstractmethod
    def run(
        self, work: Callable[[Job, Tell], Result], jobs: Sequence[Job], hear: Tell
    ) -> Iterator[tuple[Job, Result]]:
        """Each job and its result, in the order in which they are done.

        Args:
            work: makes the result of a job. The function that it gets takes messages, plain values
                such as how far it is. Both are sent to where the job is carried out (pickled).
            jobs: those that take longest should come first.
            hear: gets the messages, in this process.
        """


class Here(Executor):
    """One job after the other, in this process."""

    def run(
        self, work: Callable[[Job, Tell], Result], jobs: Sequence[Job], hear: Tell
    ) -> Iterator[tuple[Job, Result]]:
        for job in jobs:
            yield job, work(job, hear)


class Processes(Executor):
    """Several jobs at a time, each in a process of its own, on this machine.

    Args:
        count: of jobs at a time.
        threads: of torch in each process; by default its share of the cores.
    """

    def __init__(self, count: int, threads: int | None = None) -> None:
        self.count = check_number("jobs", count, 1, MOST_JOBS, whole=True)
        self.threads = threads or max(1, (os.cpu_count() or 1) // self.count)

    def run(
        self, work: Callable[[Job, Tell], Result], jobs: Sequence[Job], hear: Tell
    ) -> Iterator[tuple[Job, Result]]:
        if len(jobs) <= 1:  # a process of its own takes seconds to start
            yield from Here().run(work, jobs, hear)
            return
        queue = spawn_context().Queue()

        def poll() -> None:
            while not queue.empty():
                hear(queue.get())

        count = min(self.count, len(jobs))
        there = partial(_work_there, work, queue)
        yield from run_jobs(there, jobs, count, threads=self.threads, poll=poll)


def choose_executor(jobs: int) -> Executor:
    """What carries out ``jobs`` runs at a time on this machine."""
    check_number("jobs", jobs, 1, MOST_JOBS, whole=True)
    return Here() if jobs == 1 else Processes(jobs)


def _work_there(work: Callable[[Job, Tell], Result], queue: Any, job: Job) -> Result:
    return work(job, queue.put)
