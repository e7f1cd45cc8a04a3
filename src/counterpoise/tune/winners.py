"""What searches found: the trials, the best of each method, and runs that confirm them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from counterpoise.compare.compare import compare
from counterpoise.compare.recipe import Recipe
from counterpoise.compare.run import Watch
from counterpoise.core import storage
from counterpoise.core.executors import Executor
from counterpoise.core.provenance import made_with
from counterpoise.data.dataset import Dataset
from counterpoise.errors import InputError
from counterpoise.report import write_report
from counterpoise.report.folder import comparison_folder
from counterpoise.report.searches import FORMAT, SEARCHES

from .journal import read_curve
from .point import Point, show_name, split_point
from .trial import COMPLETE, FAILED

CONFIRM = "confirm"  # the folder of the comparison of winners
RUNNING = "running"


@dataclass(frozen=True)
class Tried:
    """A trial.

    Attributes:
        number: from 0; the first has the defaults.
        state: ``"complete"``, ``"stopped"``, ``"failed"`` or ``"running"``.
        point: its values.
        curve: validation after each epoch.
        seconds: of training.
        reason: why it failed.
    """

    number: int
    state: str
    point: Point
    curve: list[float | None]
    seconds: float = 0.0
    reason: str = ""

    @property
    def value(self) -> float | None:
        """Validation after the last epoch, of a trial that was trained to its end."""
        return self.curve[-1] if self.state == COMPLETE else None


@dataclass(frozen=True)
class Found:
    """The search for one method.

    Attributes:
        label: of the method.
        metric: on validation.
        greater_is_better: whether a larger value is the better one.
        tried: all trials.
    """

    label: str
    metric: str
    greater_is_better: bool
    tried: list[Tried]

    def count(self, state: str) -> int:
        """How many trials are in a state."""
        return sum(trial.state == state for trial in self.tried)

    @property
    def best(self) -> Tried | None:
        """The trial with the best value, of several the first."""
        known = [trial for trial in self.tried if trial.value is not None]
        if not known:
            return None
        sign = 1 if self.greater_is_better else -1
        return max(known, key=lambda trial: (sign * (trial.value or 0.0), -trial.number))

    def checked(self) -> Found:
        """Itself; :class:`InputError` where no trial was trained to its end."""
        if self.best is None and not self.count(RUNNING):
            reason = next((t.reason for t in self.tried if t.reason), "all were stopped")
            raise InputError(
                f"no trial of {self.label} was trained to its end ({reason:.300}); change what is "
                "searched, or the settings"
            )
        return self

    def winner(self, recipe: Recipe) -> tuple[dict[str, Any], str]:
        """The settings (and ``width``) of the best trial that differ, and its label."""
        if self.best is None:
            raise InputError(f"no trial of {self.label} was trained to its end")
        return split_point(self.best.point, recipe, self.label)


def read_trials(trials: Iterable[Any]) -> list[Tried]:
    """The trials of a search, from Optuna's."""
    found = []
    for trial in trials:
        attributes = trial.user_attrs
        done = trial.state.is_finished()
        if "point" in attributes:
            found.append(
                Tried(
                    trial.number,
                    str(attributes.get("outcome", FAILED)) if done else RUNNING,
                    attributes["point"],
                    read_curve(trial),
                    float(attributes.get("seconds", 0.0)),
                    str(attributes.get("reason", "")),
                )
            )
    return found


def write_searches(
    folder: Path, found: Sequence[Found], recipe: Recipe, command: str | None
) -> Path:
    """Write ``searches.json`` and the report of a folder; the path of its page."""
    searches = [
        {
            "method": each.label,
            "metric": each.metric,
            "greater_is_better": each.greater_is_better,
            "best": None if each.best is None else each.best.number,
            "winner": each.label if each.best is None else each.winner(recipe)[1],
            "trials": [_plain(trial) for trial in each.tried],
        }
        for each in found
    ]
    record = {"format": FORMAT, "data": Path(recipe.data).name, "searches": searches}
    made = made_with(command)
    storage.write_record(folder / SEARCHES, record | {"made_with": made})
    return write_report(folder)


def _plain(trial: Tried) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "value": trial.value,
        "values": {show_name(name): value for name, value in trial.point.items()},
        "epochs": len(trial.curve),
        "seconds": round(trial.seconds, 3),
        "reason": trial.reason,
    }


def confirm(
    recipe: Recipe,
    found: Sequence[Found],
    seeds: Sequence[int],
    out: Path,
    *,
    jobs: int | Executor = 1,
    watch: Watch | None = None,
    data: Dataset | None = None,
) -> Path:
    """Train the best of each method with new seeds, and compare them on test.

    Args:
        recipe: of the search.
        found: what it found.
        seeds: other ones than the search's, which chose the winners.
        out: the folder of the searches; the comparison goes to ``confirm/`` in it.
        jobs: see :func:`counterpoise.compare.compare.compare`.
        watch: told of epochs and runs.
        data: what the recipe loads, if that is done already.

    Returns:
        The path of the report.

    Raises:
        InputError: ``confirm/`` holds runs of other winners.
    """
    winners = [each.winner(recipe) for each in found]
    own = {label: settings for settings, label in winners if settings}
    labels = [label for _, label in winners]
    folder = out / CONFIRM
    recipe = replace(recipe, own=own)
    _check_winners(folder, recipe, data)
    watch = watch or Watch()
    compare(recipe, labels, seeds, folder, jobs=jobs, watch=watch, data=data)
    return write_searches(folder, found, replace(recipe, own={}), watch.command)


def _check_winners(folder: Path, recipe: Recipe, data: Dataset | None) -> None:
    """Raise :class:`InputError` where the comparison in a folder is of other winners."""
    home = comparison_folder(folder)
    if not home.is_claimed():
        return
    identity = home.read()["identity"]
    wanted = recipe.identity()
    if storage.difference(identity.get("own", {}), wanted.get("own", {})):
        raise InputError(
            f"{folder} holds runs of other winners, from fewer trials; move it away, and the same "
            "command goes on"
        )
