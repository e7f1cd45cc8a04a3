"""A progress bar over epochs, for a terminal or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from counterpoise.engine.callback import Callback


@contextmanager
def show_epochs(epochs: int, whole: str, *, show: bool) -> Iterator[list[Callback]]:
    """The callback that moves a bar after each epoch; none where nobody would see it."""
    if show:
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        from counterpoise.core.console import make_console

        console = make_console(stderr=True)
        # isatty, as FORCE_COLOR makes is_terminal true of a pipe.
        if sys.stderr.isatty() or console.is_jupyter:
            text = TextColumn("{task.description}", markup=False)
            columns = (text, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            with Progress(*columns, console=console) as bar:
                line = bar.add_task("training", total=epochs)

                class Bar(Callback):
                    def on_epoch(self, entry: dict[str, Any]) -> None:
                        metric, value = next(iter(entry["validation"][whole].items()))
                        bar.update(line, advance=1, description=f"validation {metric} {value:.3f}")

                yield [Bar()]
            return
    yield []
