"""How far a command is, for those that take long: a bar in a terminal, else lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

EVERY = 10.0  # seconds between two lines, where the work has no lines of its own


class Meter:
    """A bar on standard error, or lines there where it is no terminal.

    Args:
        bar: what draws; ``None`` where nothing does.
        lines: whether lines are printed.
    """

    def __init__(self, bar: Progress | None, lines: bool) -> None:
        self._bar, self._lines, self._said = bar, lines, time.monotonic()
        self._text, self._done, self._total = "", 0, 0

    def start(self, text: str, total: int) -> None:
        """Begin; of the work, ``total`` parts are to be done."""
        self._text, self._total = text, total
        if self._bar is not None:
            self._bar.add_task(text, total=total)

    def advance(self, count: int = 1) -> None:
        """So many parts are done."""
        self.reach(self._done + count)

    def reach(self, done: int) -> None:
        """So many parts are done in all."""
        self._done = done
        self._show()

    def describe(self, text: str) -> None:
        """Say what is worked on."""
        self._text = text
        self._show()

    def say(self, line: str) -> None:
        """Print a line where there is no bar that shows the same."""
        if self._lines:
            self._said = time.monotonic()
            print(line, file=sys.stderr, flush=True)

    def tell(self, line: str) -> None:
        """Print a line that a bar does not show, above it where there is one."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        self.say(line)

    def _show(self) -> None:
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=self._done, description=self._text)
        elif time.monotonic() - self._said >= EVERY:
            self.say(f"{self._text}: {self._done} of {self._total}")


@contextmanager
def show_progress(quiet: bool) -> Iterator[Meter]:
    """What shows how far a command is; nothing where ``quiet``."""
    if quiet or not sys.stderr.isatty():  # FORCE_COLOR makes rich take a pipe for a terminal
        yield Meter(None, lines=not quiet)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from counterpoise.core.console import make_console

    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=make_console(stderr=True)) as bar:
        yield Meter(bar, lines=False)
