"""Requests that arrive together are answered together, by one thread that owns the model."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from counterpoise.errors import InputError

from .limits import Limits, say_busy

if TYPE_CHECKING:
    from counterpoise.deploy.inputs.samples import Samples
    from counterpoise.deploy.predictor import Predictor

RECENT = 5  # times the wait, within which one batch follows another soon

Rows = list[dict[str, Any]]
Key = tuple[float | None, float | None]  # accuracy and coverage that were asked for


@dataclass
class Waiting:
    """A request whose samples have been read.

    Attributes:
        samples: its rows.
        key: what was asked for beside the answers.
        answer: of each row, once it is there.
    """

    samples: Samples
    key: Key
    answer: asyncio.Future[Rows]


class Batcher:
    """Joins the samples of waiting requests, asks the model once, and parts the answers.

    An idle model answers what is there at once. While it is busy, requests gather; a batch that
    soon follows another waits a little for more, up to ``limits.batch`` rows.

    Args:
        predictor: that answers.
        limits: ``batch``, ``wait`` and ``queue``.
        note: called with the rows of each batch.
    """

    def __init__(
        self, predictor: Predictor, limits: Limits, note: Callable[[int], None] = lambda rows: None
    ) -> None:
        self.predictor, self.limits, self.note = predictor, limits, note
        self.waiting: deque[Waiting] = deque()
        self._came = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "counterpoise-model")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to answer, in the running event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Answer no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def answer(self, samples: Samples, key: Key) -> Rows:
        """What the predictor says about each row of the samples.

        Raises:
            Refusal: too many requests wait already.
            InputError: what the predictor does not take.
        """
        if len(self.waiting) >= self.limits.queue:
            raise say_busy("the model has too many requests to answer")
        item = Waiting(samples, key, asyncio.get_running_loop().create_future())
        self.waiting.append(item)
        self._came.set()
        return await item.answer

    async def _run(self) -> None:
        last = -math.inf
        while True:
            if not self.waiting:
                self._came.clear()
                await self._came.wait()
            busy = time.monotonic() - last < RECENT * self.limits.wait
            if busy and self._count() < self.limits.batch:
                await self._gather()
            batch = self._take()
            if batch:
                await self._answer(batch)
                last = time.monotonic()

    def _count(self) -> int:
        return sum(len(item.samples) for item in self.waiting)

    async def _gather(self) -> None:
        """Wait for more rows, but not long."""
        end = time.monotonic() + self.limits.wait
        while self._count() < self.limits.batch and (left := end - time.monotonic()) > 0:
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), left)
            except asyncio.TimeoutError:
                return

    def _take(self) -> list[Waiting]:
        """The next requests that ask for the same; those that were given up are dropped."""
        while self.waiting and self.waiting[0].answer.done():
            self.waiting.popleft()
        if not self.waiting:
            return []
        key, rows = self.waiting[0].key, 0
        taken: list[Waiting] = []
        left: deque[Waiting] = deque()
        for item in self.waiting:
            fits = not taken or rows + len(item.samples) <= self.limits.batch
            if item.key == key and fits and not item.answer.done():
                taken.append(item)
                rows += len(item.samples)
            else:
                left.append(item)
        self.waiting = left
        return taken

    async def _answer(self, batch: Sequence[Waiting]) -> None:
        loop = asyncio.get_running_loop()
        parts = [item.samples for item in batch]
        self.note(sum(map(len, parts)))
        try:
            found = await loop.run_in_executor(self._thread, self._ask, parts, batch[0].key)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, InputError):
                for item in batch:  # one of them may have spoilt it for the others
                    await self._answer([item])
                return
            _set(batch, [error] * len(batch))
            return
        ends = [0]
        for part in parts:
            ends.append(ends[-1] + len(part))
        _set(batch, [found[start:end] for start, end in pairwise(ends)])

    def _ask(self, parts: list[Samples], key: Key) -> Rows:
        samples = parts[0] if len(parts) == 1 else type(parts[0]).join(parts)
        accuracy, coverage = key
        return self.predictor.answer(samples, accuracy=accuracy, coverage=coverage).rows()


def _set(batch: Sequence[Waiting], found: Sequence[Rows | Exception]) -> None:
    for item, value in zip(batch, found, strict=True):
        if item.answer.done():  # its client has gone
            continue
        if isinstance(value, Exception):
            item.answer.set_exception(value)
        else:
            item.answer.set_result(value)
