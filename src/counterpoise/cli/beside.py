"""The unimodal run that lies beside a run: looked for, and what cannot be read is passed over."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from counterpoise.core.schema import blame
from counterpoise.errors import InputError

if TYPE_CHECKING:
    from counterpoise.data.dataset import Dataset
    from counterpoise.evaluation.result import Evaluation
    from counterpoise.training.record import RunRecord
    from counterpoise.training.run import Run

RUN = "run.json"
LARGEST = 16_000_000  # bytes of it; ten times what the longest vocabulary takes


def check_run(argument: str, folder: Path) -> None:
    """Raise :class:`InputError` unless a folder holds a run."""
    if not (folder / RUN).is_file():
        raise InputError(
            f"{argument} must be a folder that `counterpoise train` wrote (--out), or one below "
            f"runs/ in what `counterpoise compare` wrote; {folder / RUN} is not there"
        )


def evaluate_named(
    against: Path, data: Dataset, data_dir: str | None, split: str, which: str
) -> Evaluation:
    """What a unimodal run that was named measures; :class:`InputError` unless it can be used."""
    from counterpoise.training.run import open_run

    check_run("--against", against)
    reference, same = open_run(against, data_dir)
    if reference.method.name != "unimodal":
        raise InputError(
            f"--against must be a run of the method unimodal, found {reference.method.name} in "
            f"{against}"
        )
    _check_same(against, same, data)
    return reference.evaluate(same, split, which, subsets=[])


def evaluate_beside(
    folder: Path, data: Dataset, data_dir: str | None, split: str, which: str
) -> tuple[Path, Evaluation] | None:
    """A finished unimodal run of the same data, seed and settings around a run, and its values.

    What is there and cannot be used is passed over, with a warning that names it.
    """
    from counterpoise.training.record import RunRecord

    record = RunRecord.read(folder)
    for place in _find_runs(folder):
        found = _try_one(place, record, (data, data_dir, split, which))
        if found is not None:
            return place, found
    return None


def _try_one(
    place: Path, record: RunRecord, asked: tuple[Dataset, str | None, str, str]
) -> Evaluation | None:
    """What a run measures if it is the one that is looked for; None if not, or with a warning."""
    try:
        with blame(place, "mend or delete it"):
            return _evaluate(place, *asked) if _matches(place, record) else None
    except (InputError, OSError) as error:
        warnings.warn(f"{place} is left out: {error}", UserWarning, stacklevel=2)
        return None


def _find_runs(folder: Path) -> Iterator[Path]:
    """The other folders around one that have a ``run.json`` of whatever kind, in order."""
    here = folder.resolve()
    places = set(_list(here.parent))
    if here.parent.parent.name == "runs":  # of a comparison: runs/METHOD/seed-N
        places |= {deeper for p in _list(here.parent.parent) for deeper in _list(p)}
    for place in sorted(places - {here}):
        if os.path.lexists(place / RUN):
            yield place


def _list(folder: Path) -> list[Path]:
    """The folders in a folder; none where it may not be looked into."""
    try:
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in entries if _is_folder(entry)]
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _matches(place: Path, record: RunRecord) -> bool:
    """Whether a folder holds a unimodal run that differs from another in method and fusion only."""
    from counterpoise.training.record import RunRecord

    size = (place / RUN).stat().st_size
    if size > LARGEST:
        raise InputError(f"{place / RUN} has {size:,} bytes, more than any run")
    other = RunRecord.read(place)
    return other.method["name"] == "unimodal" and other.matches(record)


def _evaluate(
    place: Path, data: Dataset, data_dir: str | None, split: str, which: str
) -> Evaluation:
    from counterpoise.training.run import open_run

    reference, same = open_run(place, data_dir)
    _check_finished(reference)
    _check_same(place, same, data)
    return reference.evaluate(same, split, which, subsets=[])


def _check_finished(run: Run) -> None:
    patience, epochs = run.settings.patience, len(run.history)
    waited = patience is not None and epochs - 1 - run.best_epoch >= patience
    if epochs < run.settings.epochs and not waited:
        raise InputError(
            f"it is not finished ({epochs} of {run.settings.epochs} epochs); train it on, or name "
            "it with --against"
        )


def _check_same(place: Path, same: Dataset, data: Dataset) -> None:
    if same.fingerprint() != data.fingerprint() or same.modalities != data.modalities:
        raise InputError(f"--against {place} was trained on other data")
