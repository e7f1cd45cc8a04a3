"""What a context holds besides its parts: its loaders, how long it is, where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from counterpoise.core.loader import Loader
from counterpoise.core.task import Task
from counterpoise.errors import InputError

if TYPE_CHECKING:
    from .method import Method


class Loaders(dict[str, Loader]):
    """Loaders by split; one that a method needs and that is not there is named."""

    def __missing__(self, split: str) -> Loader:
        found = ", ".join(self) or "none"
        raise InputError(
            f"loaders must hold {split!r}, which this method or schedule reads, found {found}; "
            f'pass Context(..., {{"{split}": Loader(data.{split}, ...)}})'
        )


class Total:
    """The number of epochs, and whether it was read."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.read = epochs, False


class Progress:
    """Where a context is in its run.

    Attributes:
        method: what was set up last; None before.
        preparing: whether a method is being set up.
        running: whether an epoch has begun and not ended.
        batches: how many batches of the user's own an epoch has, where that is known.
    """

    def __init__(self) -> None:
        self.method: Method | None = None
        self.preparing = self.running = False
        self.batches: int | None = None


def fit_task(task: Task, loaders: Mapping[str, Loader]) -> Task:
    """The task with what it takes from the targets that are trained on, where these are known."""
    samples = getattr(loaders.get("train"), "samples", None)
    target = getattr(samples, "target", None)
    return task if target is None else task.fit(target, getattr(samples, "weight", None))
