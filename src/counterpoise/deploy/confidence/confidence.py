"""How sure a prediction is, for the modalities that a row has: chances, abstention, sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.tasks import TASKS, Classification, MultiLabel, Regression, Task
from counterpoise.errors import InputError, check_number, show
from counterpoise.evaluation.result import Evaluation

from . import remarks
from .abstention import Answers, Steps, find_steps
from .conformal import Scores, find_limits
from .halves import halve
from .measuring import check_alike, fit_temperatures, measure_scores, measure_steps, scale
from .places import Cases, Places
from .temperature import LEAST_ROWS, Applied, spread_temperatures

VERSION = 1


class Confidence:
    """Temperatures, thresholds and quantiles for each subset of the modalities.

    Above six modalities, subsets of one size share them. :meth:`fit` takes them from validation,
    :meth:`unfitted` has none, :meth:`from_state` reads what :meth:`state` gave.

    What it promises of the rows that are measured holds for others that come from where they came
    from, each by itself. It does not hold where rows of one group (one speaker) are alike and new
    groups come, and only about where the measured rows chose the best epoch, too.

    Attributes:
        task: what is predicted.
        modalities: their order in masks.
    """

    def __init__(
        self,
        task: Task,
        modalities: Sequence[str],
        temperatures: Mapping[int, tuple[float, int]] | None = None,
    ) -> None:
        """With temperatures only; :meth:`fit` and :meth:`from_state` add what was measured.

        Args:
            task: what is predicted.
            modalities: their order in masks.
            temperatures: place -> its own temperature, and of how many rows.
        """
        self.task, self.places = task, Places.of(modalities)
        self.temperatures = dict(temperatures or {})
        self.steps: Steps | None = None
        self.scores: Scores | None = None
        self.said: tuple[str, ...] = ()
        count = len(self.places)
        own, enough = np.ones(count), np.zeros(count, dtype=np.bool_)
        for place, (value, rows) in self.temperatures.items():
            own[place], enough[place] = value, rows >= LEAST_ROWS
        self.table = spread_temperatures(own, enough, self.places.differences())
        self.table[0] = 1.0  # nothing is present

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.places.modalities

    @property
    def fitted(self) -> bool:
        """Whether anything was measured."""
        return bool(self.temperatures) or self.scores is not None

    @classmethod
    def unfitted(cls, task: Task, modalities: Sequence[str]) -> Confidence:
        """Chances as the model gives them; nothing is promised of them, and :meth:`notes` says so.

        Args:
            task: what is predicted.
            modalities: their order in masks.
        """
        return cls(task, modalities)

    @classmethod
    def fit(
        cls,
        found: Evaluation,
        groups: Tensor | None = None,
        *,
        thresholds: Evaluation | None = None,
        modalities: Sequence[str] | None = None,
        seed: int = 0,
    ) -> Confidence:
        """Calibrate on one half of a split, and measure on the other.

        Args:
            found: what the model predicts on validation for every subset, or for those that
                ``choose_subsets`` finds.
            groups: [N], which of its samples belong together; they stay in one half.
            thresholds: another split, which then is what is measured on; all of ``found``
                calibrates.
            modalities: those of the model, where the data lack some; they are the columns of
                masks.
            seed: of the halves.

        Raises:
            InputError: logits that are not finite; two evaluations that do not fit together.
        """
        seed = check_number("seed", seed, 0, whole=True)
        task, names = found.task, modalities or found.modalities
        places = Places.of(names)
        cases = Cases.of(found, places)
        said: tuple[str, ...] = ()
        if thresholds is None:
            second = halve(task, found.target, groups, seed)[cases.row]
            calibrating, measured = cases.part(~second), cases.part(second)
            said = () if second.any() else (remarks.NO_HALVES,)
        else:
            check_alike(found, thresholds)
            calibrating, measured = cases, Cases.of(thresholds, places)
        made = cls(task, names, fit_temperatures(task, calibrating))
        count = len(places)
        calibrating, measured = (x.once(count, seed) for x in (calibrating, measured))
        made.said, made.scores = said, measure_scores(task, made.table, measured)
        made.steps = measure_steps(task, made.table, calibrating, measured)
        return made

    def state(self) -> dict[str, Any]:
        """Everything, for strict JSON; :meth:`from_state` makes an equal one."""
        names = self.places.names()
        measured: dict[str, Any] = {}
        for place, name in enumerate(names):
            if self.steps is not None and self.steps.rows[place]:
                measured[name] = {"answers": self.steps.state(place)}
            if self.scores is not None and self.scores.rows[place].any():
                measured[name] = measured.get(name, {}) | {"sets": self.scores.state(place)}
        return {
            "version": VERSION,
            "fitted": self.fitted,
            "temperature": {
                names[place]: {"value": value, "rows": rows}
                for place, (value, rows) in self.temperatures.items()
            },
            "measured": measured,
            "said": list(self.said),
        }

    @classmethod
    def from_state(
        cls, task: Task, modalities: Sequence[str], state: Mapping[str, Any]
    ) -> Confidence:
        """What :meth:`state` gave, for a model of these modalities, in any order.

        Raises:
            InputError: a state of a later version, or one that is damaged.
        """
        if state.get("version") != VERSION:
            raise InputError(
                f"confidence must be of version {VERSION}, found {show(state.get('version'))}; "
                "open it with the version of counterpoise that made it, or a later one"
            )
        if not state.get("fitted"):
            return cls.unfitted(task, modalities)
        places = Places.of(modalities)
        try:
            temperatures = {
                places.number(name): (float(each["value"]), int(each["rows"]))
                for name, each in state["temperature"].items()
            }
            steps = Steps.empty(len(places)) if isinstance(task, Classification) else None
            sets = {}
            for name, each in state["measured"].items():
                if steps is not None and "answers" in each:
                    steps.restore(places.number(name), each["answers"])
                if "sets" in each:
                    sets[places.number(name)] = each["sets"]
            offered = isinstance(task, Classification | Regression)
            scores = Scores.restore(sets, (len(places), task.outputs)) if offered else None
            made = cls(task, modalities, temperatures)
            made.steps, made.scores, made.said = steps, scores, tuple(state["said"])
            return made
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"confidence is damaged: {error!r}; pack the model again") from None

    def temperature(self, present: Tensor) -> Tensor:
        """bool [N, M] -> float64 [N]: by what the logits of each row are divided.

        A subset that validation did not hold, or in fewer than 20 rows, takes the temperature of
        those that differ from it in the fewest modalities (the geometric mean of several). It is
        1 for rows without any modality, and for a regression.
        """
        return torch.from_numpy(self.table[self.places.find(present)])

    def list_temperatures(self) -> dict[str, Applied]:
        """Subset (or number of modalities) -> the temperature of its rows, and whose it is."""
        rows = {place: rows for place, (_, rows) in self.temperatures.items()}
        return {
            name: Applied(
                float(self.table[place]), rows.get(place, 0), rows.get(place, 0) >= LEAST_ROWS
            )
            for place, name in enumerate(self.places.names())
            if place
        }

    def chances(self, logits: Tensor, present: Tensor) -> Tensor:
        """[N, K], bool [N, M] -> [N, K]: the calibrated probability of each class or label.

        Of a regression, and of a task without chances, it is ``logits`` itself.
        """
        return scale(self.task, logits, self.table[self.places.find(present)])

    def answers(self, accuracy: float) -> dict[str, Answers]:
        """Subset (or number of modalities) -> what is answered there, for a wanted accuracy.

        Args:
            accuracy: above 0 and below 1.

        Raises:
            InputError: a task without classes; nothing was measured.
        """
        steps, best = self._choose(accuracy)
        found = steps.describe(best)
        return {
            name: found[place] for place, name in enumerate(self.places.names()) if place in found
        }

    def _choose(self, accuracy: float) -> tuple[Steps, NDArray[np.int64]]:
        if not isinstance(self.task, Classification):
            raise InputError(
                "accuracy needs a task of one class of several, found "
                f"{TASKS.name_of(self.task)}; leave it out"
            )
        if self.steps is None or not self.fitted:
            raise _find_nothing("accuracy")
        return self.steps, find_steps(self.steps, _check_share("accuracy", accuracy))

    def keeps(self, chances: Tensor, present: Tensor, accuracy: float) -> Tensor:
        """bool [N]: which rows are answered, so that those reach the wanted accuracy.

        :meth:`~counterpoise.deploy.confidence.abstention.Steps.choose` says what is promised,
        with a probability of 90 % over the measured rows, for each subset. Rows of a subset that
        cannot reach the accuracy, or was not measured, are all withheld; :meth:`notes` lists them.

        Args:
            chances: [N, K], as :meth:`chances` gives them; rows of NaN are withheld.
            present: bool [N, M].
            accuracy: above 0 and below 1.

        Raises:
            InputError: a task without classes; nothing was measured.
        """
        steps, best = self._choose(accuracy)
        every = np.arange(len(best))
        least = np.where(best < 0, np.float32(np.inf), steps.thresholds[every, best])
        sure = chances.amax(1).float().cpu()
        return sure >= torch.from_numpy(least[self.places.find(present)])

    def sets(self, chances: Tensor, present: Tensor, coverage: float) -> Tensor:
        """bool [N, K]: the classes that may be true, the true one among them as often as asked.

        Of a regression float [N, K, 2]: an interval for each output. The truth is held with a
        probability of at least ``coverage``, for each subset, and for each class (or output) by
        itself; by at most ``1 / (n + 1)`` more, of ``n`` measured rows of the class, where these
        are few (of many, the coverage is rounded up to the next of
        :data:`~counterpoise.deploy.confidence.conformal.COVERAGES`). Classes of a subset with
        fewer than ``coverage / (1 - coverage)`` rows share one limit, which holds for them
        together. Where all rows of a subset are too few, a set holds every class and an interval
        every number; :meth:`notes` says both. A set may be empty: no class fits.

        Args:
            chances: [N, K], as :meth:`chances` gives them; rows of NaN get everything.
            present: bool [N, M].
            coverage: above 0 and below 1.

        Raises:
            InputError: a task of labels; nothing was measured.
        """
        scores, coverage = self._find_scores(coverage)
        place = self.places.find(present)
        limits = find_limits(scores, coverage, isinstance(self.task, Classification))
        limit = torch.from_numpy(limits[place]).to(chances.device)
        if isinstance(self.task, Classification):
            return ~(1 - chances.float() > limit)
        limit = limit.to(chances)
        centre = torch.where(chances.isfinite(), chances, 0.0)
        limit = torch.where(chances.isfinite(), limit, torch.inf)
        return torch.stack([centre - limit, centre + limit], 2)

    def _find_scores(self, coverage: float) -> tuple[Scores, float]:
        if not isinstance(self.task, Classification | Regression):
            raise InputError(
                "coverage needs a task of one class of several or of numbers, found "
                f"{TASKS.name_of(self.task)}; leave it out"
            )
        if self.scores is None or not self.fitted:
            raise _find_nothing("coverage")
        return self.scores, _check_share("coverage", coverage)

    def notes(self, accuracy: float | None = None, coverage: float | None = None) -> list[str]:
        """What does not hold, a line each: subsets that were not measured, what cannot be had.

        Args:
            accuracy: as for :meth:`keeps`, if it is asked for.
            coverage: as for :meth:`sets`, if it is asked for.
        """
        if not self.fitted:
            return ["nothing was calibrated: chances are as the model gives them"]
        names = self.places.titles()
        own = {place: rows for place, (_, rows) in self.temperatures.items()}
        lines = [*self.said]
        if isinstance(self.task, Classification | MultiLabel):
            lines += remarks.on_temperatures(names, own, LEAST_ROWS)
        if accuracy is not None:
            _, best = self._choose(accuracy)
            lines += remarks.on_answers(names, best, accuracy)
        if coverage is not None:
            scores, coverage = self._find_scores(coverage)
            lines += remarks.on_sets(names, scores, coverage, self.task)
        return lines


def _check_share(argument: str, value: object) -> float:
    number = float(check_number(argument, value))
    if not 0 < number < 1:
        raise InputError(f"{argument} must be a number above 0 and below 1, found {show(value)}")
    return number


def _find_nothing(argument: str) -> InputError:
    return InputError(
        f"{argument} needs a model that was calibrated on validation, found one that was not; "
        "pack it again with data that have a validation split"
    )
