"""Where the runs of a comparison are carried out: in this process, in others, or elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from counterpoise.errors import check_number

from .sharing import Parcel, pack
from .workers import MOST_JOBS, count_cores, run_jobs, spawn_context

Job = TypeVar("Job")
Result = TypeVar("Result")
Tell = Callable[[Any], None]


class Executor(ABC):
    """Carries out jobs; the process that asks is the only one that writes what they give.

    Attributes:
        elsewhere: whether jobs may be carried out on other machines, where data are to be found by
            name or path rather than sent.
    """

    elsewhere = False

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

    Each takes the next job as soon as it is done with one. Large arrays in what is sent with
    ``work``, such as a data set in memory, are in memory once more for all processes together
    (:mod:`counterpoise.core.sharing`).

    Args:
        count: of jobs at a time.
        threads: of torch in each process; by default its share of the cores.
    """

    def __init__(self, count: int, threads: int | None = None) -> None:
        self.count = check_number("jobs", count, 1, MOST_JOBS, whole=True)
        self.threads = threads or max(1, count_cores() // self.count)

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
        with pack(work) as parcel:
            there = _There(parcel, queue)
            yield from run_jobs(there, jobs, count, threads=self.threads, poll=poll)
        poll()


def choose_executor(jobs: int) -> Executor:
    """What carries out ``jobs`` runs at a time on this machine."""
    check_number("jobs", jobs, 1, MOST_JOBS, whole=True)
    return Here() if jobs == 1 else Processes(jobs)


class _There:
    """Does jobs in another process, with what was sent there once."""

    def __init__(self, parcel: Parcel, queue: Any) -> None:
        self._parcel, self._queue = parcel, queue
        self._work: Callable[[Any, Tell], Any] | None = None

    def __call__(self, job: Any) -> Any:
        if self._work is None:
            self._work = self._parcel.open()
        return self._work(job, self._queue.put)
