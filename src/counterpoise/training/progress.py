"""A progress bar over epochs, for a terminal or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def show_epochs(
    epochs: int, whole: str, metric: str, *, show: bool
) -> Iterator[Callable[[dict[str, Any]], None] | None]:
    """What to call after each epoch to move a bar; ``None`` where nobody can see it."""
    if show:
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        # isatty, as FORCE_COLOR makes is_terminal true of a pipe.
        if sys.stderr.isatty() or console.is_jupyter:
            with Progress(console=console) as bar:
                line = bar.add_task("training", total=epochs)

                def advance(entry: dict[str, Any]) -> None:
                    value = entry["validation"][whole][metric]
                    bar.update(line, advance=1, description=f"validation {metric} {value:.3f}")

                yield advance
            return
    yield None
