"""Runs as tasks of Ray: on the cores and GPUs of this machine, or of a cluster."""

from __future__ import annotations

import io
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch

from counterpoise.errors import InputError, check_number, show

from .ears import Ears
from .executors import Executor, Tell
from .ray_cluster import check_address, import_ray, open_cluster
from .sharing import read_apart, write_apart

Job = TypeVar("Job")
Result = TypeVar("Result")
Parcel = tuple[str, bytes, "np.ndarray[Any, Any]"]  # name, pickle, arrays
Said = list[tuple[str, type[Warning]]]

RETRIES = 3  # times that a run is tried again whose worker or machine was lost
AHEAD = 64  # runs at least that Ray knows of, so that a cluster which grows knows what for
EVERY = 0.2  # seconds between two looks at messages
LOOK = 5.0  # seconds between two looks at whether a machine is there for the runs
PATIENCE = 60.0  # seconds without such a machine
MOST_CPUS, MOST_GPUS = 4096, 1024  # of one run

# What this process opened last, where it is a worker: name of the parcel -> work.
_opened: dict[str, Callable[[Any, Tell], Any]] = {}


class OnRay(Executor):
    """Each job is a task of Ray, with so many CPUs and GPUs.

    A task whose worker or machine is lost is begun again elsewhere, up to three times; one that
    raises an error is not. What is sent with the work, such as data in memory, is in memory once a
    machine (large arrays are not copied).

    Args:
        address: ``HOST:PORT`` of the head of a cluster, or ``auto`` for one that runs on this
            machine; by default a cluster of this machine alone is started, and stopped in the end.
        cpus: of a run, above 0; torch computes with so many threads, at least one.
        gpus: of a run; 0.5 lets two share one.

    Raises:
        InputError: Ray is not installed, a number is out of its bounds, or nothing answers at the
            address.
    """

    elsewhere = True

    def __init__(self, address: str | None = None, cpus: float = 1, gpus: float = 0) -> None:
        self.cpus = _check_share("cpus", check_number("cpus", cpus, 0.01, MOST_CPUS))
        self.gpus = _check_share("gpus", check_number("gpus", gpus, 0, MOST_GPUS))
        self.address = address
        import_ray(address)
        if address is not None:
            check_address(address)

    def run(
        self, work: Callable[[Job, Tell], Result], jobs: Sequence[Job], hear: Tell
    ) -> Iterator[tuple[Job, Result]]:
        if not jobs:
            return
        parcel = pack_parcel(work)
        with open_cluster(self.address, self.gpus > 0, parcel[2].nbytes) as ray:
            self.check_room(ray)
            yield from _Tasks(ray, self, parcel, hear).carry_out(jobs)

    def check_room(self, ray: Any) -> None:
        """Raise :class:`InputError` where no machine of the cluster can ever take a run."""
        if not self.has_room(ray):
            found = [_describe(node) for node in ray.nodes() if node["Alive"]]
            raise InputError(
                f"--per-run cpus={self.cpus:g},gpus={self.gpus:g} is more than any machine of the "
                f"cluster has; found {'; '.join(found[:8]) or 'none'}; ask for less, or add one"
            )

    def has_room(self, ray: Any) -> bool:
        """Whether a machine of the cluster has what a run takes, be it busy or not."""
        has = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return any(h.get("CPU", 0) >= self.cpus and h.get("GPU", 0) >= self.gpus for h in has)


def _check_share(name: str, number: float) -> float:
    """A part of one, or a whole number: nothing else is dealt out."""
    if number > 1 and number != int(number):
        raise InputError(f"{name} must be a whole number above 1, found {number}; such as 2 or 0.5")
    return number


def _describe(node: Any) -> str:
    has = node["Resources"]
    return f"{has.get('CPU', 0):g} CPUs and {has.get('GPU', 0):g} GPUs"


class _Tasks:
    """The tasks of one call of :meth:`OnRay.run`."""

    def __init__(self, ray: Any, place: OnRay, parcel: Parcel, hear: Tell) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.ray, self.place, self._hear = ray, place, hear
        node = ray.get_runtime_context().get_node_id()
        where = NodeAffinitySchedulingStrategy(node, soft=False)  # it is lost with this process
        self._ears = (
            ray.remote(Ears)
            .options(num_cpus=0, max_restarts=-1, scheduling_strategy=where)
            .remote()
        )
        self._parcel = ray.put(parcel)
        self._task = ray.remote(_carry_out).options(
            num_cpus=place.cpus,
            num_gpus=place.gpus,
            max_retries=RETRIES,
            retry_exceptions=False,
        )
        self._threads = max(1, int(place.cpus))
        self._waiting: dict[Any, Any] = {}
        self._seen = self._looked = time.monotonic()

    def carry_out(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Any]]:
        left = iter(jobs)
        most = max(AHEAD, 2 * int(self.ray.cluster_resources().get("CPU", 1) / self.place.cpus))
        try:
            while True:
                for job in islice(left, most - len(self._waiting)):
                    task = self._task.remote(self._parcel, job, self._ears, self._threads)
                    self._waiting[task] = job
                if not self._waiting:
                    break
                done, _ = self.ray.wait(list(self._waiting), timeout=EVERY)
                self._poll()
                for task in done:
                    result, said = self._take(task)
                    for text, category in said:
                        warnings.warn(text, category, stacklevel=2)
                    yield self._waiting.pop(task), result
                self._look()
            self._poll()
        finally:
            self._cancel()

    def _poll(self) -> None:
        """Pass on what was heard; a machine that is lost may take messages with it."""
        with suppress(self.ray.exceptions.RayError):
            for message in self.ray.get(self._ears.take.remote(), timeout=10):
                self._hear(message)

    def _take(self, task: Any) -> tuple[Any, Said]:
        """The result of a task that is done, or its error as it was raised there."""
        errors = self.ray.exceptions
        try:
            found: tuple[Any, Said] = self.ray.get(task)
            return found
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, InputError):
                raise cause from None
            if isinstance(cause, ModuleNotFoundError):
                raise InputError(
                    f"a machine of the cluster lacks {cause.name}; install there what is here"
                ) from None
            raise (cause if isinstance(cause, Exception) else error) from error
        except errors.RayError as error:
            reason = type(error).__name__
            raise InputError(
                f"the worker of {show(self._waiting[task])} was lost {RETRIES + 1} times "
                f"({reason}: out of memory, or its machine ended); run the same command again to "
                "go on, perhaps with more cpus in --per-run, so that fewer runs share a machine"
            ) from None

    def _look(self) -> None:
        """Raise :class:`InputError` where the machines that could take a run have left."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        self._looked = now
        if self.place.has_room(self.ray):
            self._seen = now
        elif now - self._seen > PATIENCE:
            self.place.check_room(self.ray)

    def _cancel(self) -> None:
        """End what has not been done: the processes of these tasks, too."""
        tasks = list(self._waiting)
        with suppress(self.ray.exceptions.RayError):
            for task in tasks:
                self.ray.cancel(task, force=True)
            if tasks and self.place.address is not None:  # else all of it ends now
                self.ray.wait(tasks, num_returns=len(tasks), timeout=10)


def pack_parcel(work: Any) -> Parcel:
    """What all tasks need, as a pickle and its large arrays, which are sent as they are."""
    from ray.cloudpickle import CloudPickler  # it knows classes of scripts and notebooks, too

    memory = io.BytesIO()
    content = write_apart(work, memory, CloudPickler)
    size = memory.getbuffer().nbytes
    arrays = np.frombuffer(memory.getbuffer(), np.uint8) if size else np.empty(0, np.uint8)
    return uuid.uuid4().hex, content, arrays


def _carry_out(parcel: Parcel, job: Any, ears: Any, threads: int) -> tuple[Any, Said]:
    """One job, in a worker: its result, and what was warned of."""
    import ray

    last: list[Any] = []

    def tell(message: Any) -> None:
        last[:] = [ears.hear.remote(message)]

    torch.set_num_threads(threads)
    with warnings.catch_warnings(record=True) as caught:
        result = _open(parcel)(job, tell)
    if last:  # they arrive in their order
        ray.wait(last, timeout=5)
    return result, [(str(found.message), found.category) for found in caught]


def _open(parcel: Parcel) -> Callable[[Any, Tell], Any]:
    """The work of a parcel, made once in this process."""
    name, content, arrays = parcel
    if name not in _opened:
        _opened.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch: nothing may write to it, and nothing does
            _opened[name] = read_apart(content, arrays)
    return _opened[name]
