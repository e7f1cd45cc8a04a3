"""What each search may spend, and who is told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from counterpoise.errors import InputError, check_number

from .space import Space
from .trial import Job, Outcome

MOST_TRIALS, MOST_MINUTES = 1_000_000, 10_000_000


@dataclass(frozen=True)
class Budget:
    """What each method gets, the same for all.

    Attributes:
        trials: so many, the defaults of the method among them; 30 where neither is given.
        minutes: of training: trials begin until those that are done took so long in all.
        stopping: whether trials that fall behind are stopped early
            (:class:`counterpoise.tune.stopping.Bar`).
    """

    trials: int | None = None
    minutes: float | None = None
    stopping: bool = True

    def __post_init__(self) -> None:
        if self.trials is not None and self.minutes is not None:
            raise InputError("give trials or minutes, not both: either is the same for each method")
        if self.minutes is not None:
            check_number("minutes", self.minutes, most=MOST_MINUTES, above=0)
        elif self.trials is None:
            object.__setattr__(self, "trials", 30)
        else:
            check_number("trials", self.trials, 1, MOST_TRIALS, whole=True)

    def count_left(self, trials: Sequence[Any]) -> float:
        """The trials, or the seconds of training, that a search with these trials has left."""
        if self.minutes is None:
            return max(0, (self.trials or 0) - len(trials))
        done = sum(float(trial.user_attrs.get("seconds", 0.0)) for trial in trials)
        return max(0.0, 60 * self.minutes - done)


class Watch:
    """Told how far searches are; override what you need.

    Attributes:
        command: what the report says that they were made by.
    """

    command: str | None = None

    def on_space(self, label: str, space: Space) -> None:
        """Runs before the first trial, with what is searched."""

    def on_begin(self, left: float) -> None:
        """Runs then, with the trials, or the seconds of training, that are left."""

    def on_epoch(self, label: str, number: int) -> None:
        """Runs after each epoch of a trial."""

    def on_trial(self, job: Job, outcome: Outcome) -> None:
        """Runs after each trial."""
