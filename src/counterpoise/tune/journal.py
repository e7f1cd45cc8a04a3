"""The journal of searches: what Optuna knows of them, in a file that a kill cannot spoil."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from counterpoise.core import seal
from counterpoise.core.files import open_file
from counterpoise.core.schema import blame, parse_json
from counterpoise.errors import InputError
from counterpoise.report import records

ADVICE = "take it from a copy of the folder, or search anew in another one"


class Journal(BaseJournalBackend):
    """The lines of Optuna's journal, each with a checksum, appended under a lock of the system.

    Such a lock ends with its process, so that none is left by a kill, and what a kill left of a
    line is cut off before the next one. Optuna's own file leaves both: its lock is a file that
    others wait for, and a torn line spoils the next.

    Args:
        path: of the file, which is made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read, self._place = 0, 0  # lines that were read, and where the next begins

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The lines from a number on; a last one that is torn, or being written, is left out."""
        if log_number_from < self._read:
            self._read = self._place = 0
        try:
            with open_file(self.path) as file:
                file.seek(self._place)
                *lines, _ = file.read().split(b"\n")
        except FileNotFoundError:
            lines = []
        found = []
        for line in lines:
            self._read += 1
            self._place += len(line) + 1
            if self._read > log_number_from:
                found.append(self._parse(line))
        return found

    def _parse(self, line: bytes) -> dict[str, Any]:
        if not seal.check_line(line):
            raise InputError(
                f"{self.path}, line {self._read} is damaged or was changed (its checksum does not "
                f"fit); {ADVICE}"
            )
        found: dict[str, Any] = parse_json(line)
        del found[seal.KEY]
        return found

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add lines, on disk when this returns."""
        records.append(self.path, logs)


@contextmanager
def quietly(path: Path) -> Iterator[None]:
    """Let Optuna say nothing; what it cannot read is one line.

    Args:
        path: of the journal, for the line.
    """
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings(), blame(path, ADVICE):
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)


def open_storage(path: Path) -> JournalStorage:
    """All searches of a journal."""
    return JournalStorage(Journal(path))


def open_study(storage: JournalStorage, label: str, greater_is_better: bool) -> optuna.Study:
    """The search of one method, which is begun where there is none."""
    return optuna.create_study(
        storage=storage,
        study_name=label,
        direction="maximize" if greater_is_better else "minimize",
        load_if_exists=True,
        pruner=optuna.pruners.NopPruner(),  # trials are stopped where they are trained
    )


def make_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """What proposes the values of one trial: TPE, which counts those that run as well."""
    return optuna.samplers.TPESampler(
        seed=seed % 2**32, multivariate=True, group=False, constant_liar=True
    )


def suggest(trial: optuna.Trial, name: str, domain: Any) -> Any:
    """A value for a trial, or the one that it has."""
    if hasattr(domain, "values"):
        return trial.suggest_categorical(name, list(domain.values))
    if domain.whole:
        return trial.suggest_int(name, int(domain.low), int(domain.high), log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)


def open_trial(study: optuna.Study, identity: int) -> optuna.Trial:
    """A trial that was begun before, to go on with."""
    return optuna.Trial(study, identity)


def tell_pruned(study: optuna.Study, trial: optuna.Trial) -> None:
    """Say that a trial was not trained to its end."""
    study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def read_curve(trial: optuna.trial.FrozenTrial) -> list[float | None]:
    """The values of a trial after each epoch."""
    values = trial.intermediate_values
    return [values.get(step) for step in range(max(values, default=-1) + 1)]
