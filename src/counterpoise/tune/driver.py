"""Who proposes trials, hands them out and writes down what comes of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

from counterpoise.core.executors import Executor, Here, Processes
from counterpoise.core.loader import mix
from counterpoise.training.task import prepare_task

from .budget import MOST_TRIALS, Budget, Watch
from .folder import JOURNAL, Worker, search_folder, take_turn
from .journal import (
    make_sampler,
    open_storage,
    open_study,
    open_trial,
    quietly,
    read_curve,
    suggest,
    tell_pruned,
)
from .point import default_point
from .space import Space
from .stopping import Bar
from .trial import COMPLETE, Job, Outcome, Plan, carry_out
from .winners import Found, read_trials

AT_ONCE = 8  # trials, where the place does not say how many it carries out at a time


class Driver:
    """Proposes trials, and takes what comes of them: the jobs of an executor, made on demand.

    An executor asks for the next job when it has room. As an iterator, this has none as long as
    enough are out, and may have one when a result has been taken: what a trial is depends on what
    came before.

    Args:
        plan: what trials share.
        spaces: label -> space.
        budget: of each.
        executor: carries them out.
        watch: told of them.
    """

    def __init__(
        self,
        plan: Plan,
        spaces: Mapping[str, Space],
        budget: Budget,
        executor: Executor,
        watch: Watch,
    ) -> None:
        self.plan, self.spaces, self.budget, self.watch = plan, spaces, budget, watch
        self.executor, self.worker = executor, Worker(plan.out)
        self.at_once = _count(executor)
        self.journal = plan.out / JOURNAL
        task = prepare_task(plan.data, plan.recipe.settings)
        self.metric, self.greater = task.primary, task.greater_is_better
        with take_turn(plan.out), quietly(self.journal):
            storage = open_storage(self.journal)
            self.studies = {label: open_study(storage, label, self.greater) for label in spaces}
        self._out: dict[tuple[str, int], Any] = {}
        self._begun = 0

    def run(self) -> None:
        """Carry out trials until the budget of each method is spent."""
        self._remove_left()
        self.watch.on_begin(self.count_left())
        work = partial(carry_out, self.plan)
        begun = -1
        while begun != self._begun:  # a trial may be left by a command that has ended meanwhile
            begun = self._begun
            # Executors count jobs and iterate; nothing else of a sequence is asked for.
            jobs = cast("Sequence[Job]", self)
            for job, outcome in self.executor.run(work, jobs, lambda m: self.watch.on_epoch(*m)):
                self.take(job, outcome)
                self.watch.on_trial(job, outcome)

    def __len__(self) -> int:
        """How many trials there are to do, at most."""
        return MOST_TRIALS if self.budget.minutes is not None else int(self.count_left())

    def count_left(self) -> float:
        """The trials, or the seconds of training, that are left of all budgets."""
        with quietly(self.journal):
            trials = [self._trials(label) for label in self.spaces]
        return sum(
            self.budget.count_left([t for t in found if t.state.is_finished()]) for found in trials
        )

    def __iter__(self) -> Iterator[Job]:
        return self

    def __next__(self) -> Job:
        if len(self._out) >= self.at_once:
            raise StopIteration
        with take_turn(self.plan.out), quietly(self.journal):
            job = self._find_left() or self._begin()
        if job is None:
            raise StopIteration
        self._begun += 1
        return job

    def _trials(self, label: str) -> list[Any]:
        """The trials of a search, but for those that only wait."""
        found = self.studies[label].get_trials(deepcopy=False)
        return [trial for trial in found if trial.state.name != "WAITING"]

    def _find_left(self) -> Job | None:
        """A trial that was begun by a command that has ended."""
        for label in self.spaces:
            for trial in self._trials(label):
                mine = (label, trial.number) in self._out
                if trial.state.is_finished() or mine:
                    continue
                if not self.worker.is_there(trial.user_attrs.get("worker")):
                    return self._take_up(label, trial.number, trial._trial_id)
        return None

    def _begin(self) -> Job | None:
        """A new trial of the search that has fewest."""
        counts = {label: self._trials(label) for label in self.spaces}
        for label in sorted(counts, key=lambda label: len(counts[label])):
            if not self.budget.count_left(counts[label]):
                continue
            study = self.studies[label]
            if not study.get_trials(deepcopy=False):
                space, point = self.spaces[label], self._default(label)
                inside = {n: v for n, v in point.items() if space[n].holds(v)}
                study.enqueue_trial(inside)
            self._prepare(label, len(counts[label]))
            trial = study.ask()
            return self._take_up(label, trial.number, trial)
        return None

    def _default(self, label: str) -> dict[str, Any]:
        return default_point(self.spaces[label], self.plan.recipe, label)

    def _prepare(self, label: str, number: int) -> None:
        """Let what is proposed depend on nothing but the trials before it."""
        seed = mix(self.plan.recipe.settings.seed, *label.encode(), number)
        self.studies[label].sampler = make_sampler(seed)

    def _take_up(self, label: str, number: int, trial: Any) -> Job:
        """Make a trial this command's own, with its values."""
        space = self.spaces[label]
        if isinstance(trial, int):
            self._prepare(label, number)
            trial = open_trial(self.studies[label], trial)
        point = trial.user_attrs.get("point")
        if point is None:
            point = self._default(label) if number == 0 else {}
            for name, domain in space.items():
                if name not in point or domain.holds(point[name]):  # else Optuna does not know it
                    value = domain.settle(suggest(trial, name, domain))
                    point.setdefault(name, value)
            trial.set_user_attr("point", point)
        trial.set_user_attr("worker", self.worker.name)
        self._out[label, number] = trial
        return Job(label, number, point, self._bar(label))

    def _bar(self, label: str) -> Bar:
        """What trials have to reach now."""
        if not self.budget.stopping:
            return Bar()
        complete = [trial for trial in self._trials(label) if trial.state.name == "COMPLETE"]
        return Bar.of([read_curve(trial) for trial in complete], self.greater)

    def take(self, job: Job, outcome: Outcome) -> None:
        """Write down what came of a trial; its checkpoint goes."""
        trial, study = self._out.pop((job.label, job.number)), self.studies[job.label]
        with quietly(self.journal):
            for step, value in enumerate(outcome.curve):
                if value is not None:
                    trial.report(value, step)  # what is there already stays
            trial.set_user_attr("seconds", outcome.seconds)
            trial.set_user_attr("outcome", outcome.state)
            if outcome.reason:
                trial.set_user_attr("reason", outcome.reason[:500])
            if outcome.state == COMPLETE:
                study.tell(trial, outcome.curve[-1])
            else:  # so that TPE keeps away from it, also where it failed
                tell_pruned(study, trial)
        shutil.rmtree(self.plan.path(job.label, job.number), ignore_errors=True)

    def _remove_left(self) -> None:
        """Remove the checkpoints of trials whose outcome is known: a kill came between."""
        with quietly(self.journal):
            done = [
                (n, t.number) for n in self.spaces for t in self._trials(n) if t.state.is_finished()
            ]
        for label, number in done:
            shutil.rmtree(self.plan.path(label, number), ignore_errors=True)

    def find(self) -> list[Found]:
        """What all searches of this folder have found so far, those of other commands too."""
        with take_turn(self.plan.out), quietly(self.journal):
            labels = search_folder(self.plan.out).read()["searches"]
            storage = open_storage(self.journal)
            studies = {n: open_study(storage, n, self.greater) for n in labels}
            return [
                Found(n, self.metric, self.greater, read_trials(study.get_trials(deepcopy=False)))
                for n, study in studies.items()
            ]


def _count(executor: Executor) -> int:
    """How many trials an executor carries out at a time."""
    if isinstance(executor, Here):
        return 1
    return executor.count if isinstance(executor, Processes) else AT_ONCE
