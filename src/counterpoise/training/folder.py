"""The folder of a run: who may train in it, and from where."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from counterpoise.core import ranks, storage
from counterpoise.core.lock import hold
from counterpoise.core.provenance import made_with
from counterpoise.core.shards import gather_state
from counterpoise.errors import InputError
from counterpoise.methods import METHODS
from counterpoise.methods.registry import split_chain

from .checkpoint import CHECKPOINT as CHECKPOINT
from .checkpoint import read_checkpoint
from .predictions import Predictions
from .record import RunRecord, run_folder

# Weights that are there for users: they follow from the checkpoint, and are written anew from it.
BEST, LAST = "best.safetensors", "last.safetensors"
AGAIN = "delete it, and the same training with resume (--resume) writes it again"

# Which methods of format 1, whose checkpoints do not say so, have read the number of epochs: those
# where one of these options was None. Without options it is every run, as for methods of others.
READ_TOTAL: dict[str, tuple[str, ...]] = {
    "amco": (),
    "aug": ("every",),
    "diagnose-relearn": (),
    "g-blending": (),
    "ogm": ("end",),
    "ogm-ge": ("end",),
    "opm": ("warm_up",),
    "pmr": ("end", "early"),
    "umt": ("teacher_epochs",),
}


def read_known(folder: Path) -> Mapping[str, Any] | None:
    """What the run of a folder knows of its data, the state of its task in it; None: no run."""
    return RunRecord.read(folder).data if run_folder(folder).is_claimed() else None


@contextmanager
def hold_folder(folder: Path | None) -> Iterator[None]:
    """Be the only one who writes to the folder of a run, if it has one: rank 0, for all ranks."""
    with ExitStack() as stack:
        if folder is not None:
            ranks.ask_first(lambda: stack.enter_context(hold(folder, "run")))
        yield


def open_folder(folder: Path, record: RunRecord, resume: bool) -> dict[str, Any] | None:
    """Check that a folder is free, or holds this very run; the checkpoint to go on from.

    The number of epochs may be another one, if nothing has depended on it.

    Raises:
        InputError: the folder holds something else, or this run and ``resume`` is false; or the
            run cannot have this number of epochs any more.
    """
    home = run_folder(folder)
    path = folder / CHECKPOINT
    known, saved = home.check(record.identity(), again=resume), None
    if known is not None:
        before = RunRecord.read(folder)
        saved = open_checkpoint(before) if path.exists() else None
        if saved is not None:
            _check_epochs(before, saved, record.settings.epochs)
        if not before.sealed:  # before run.json says that they are: a kill leaves nothing refused
            for file in filter(Path.exists, _files(folder)):
                storage.add_seal(file)
    home.claim(record.identity(), made_with=made_with(), again=resume, **record.others())
    return saved


def open_checkpoint(record: RunRecord) -> dict[str, Any]:
    """The checkpoint of a run, once every file of its folder was found to be whole and its own.

    Raises:
        InputError: a file that is damaged, or another run's; no checkpoint.
    """
    folder = record.folder
    for path in _files(folder):
        if path.name != CHECKPOINT and os.path.lexists(path):
            about = storage.read_metadata(path, record.sealed, AGAIN)
            if about.get("run", record.key()) != record.key():
                raise InputError(f"{path} is of another run; {AGAIN}")
    return read_checkpoint(folder / CHECKPOINT, record.sealed)


def _files(folder: Path) -> list[Path]:
    """The files of a run but ``run.json``, which need not be there yet."""
    kept = [validation_file(folder, which) for which in ("last", "best")]
    return [folder / CHECKPOINT, folder / BEST, folder / LAST, *kept]


class Files:
    """What a run writes into its folder, by rank 0; nothing where it has none.

    Args:
        path: of the folder.
        run: :meth:`RunRecord.key`.
        split: each rank has a part of the tensors, so that all must call what writes them.
    """

    def __init__(self, path: Path | None, run: str, *, split: bool = False) -> None:
        self.path, self.run = path if ranks.rank() == 0 else None, run
        self.split = split and path is not None

    def _find(self) -> Path | None:
        """The folder, if there is one; :class:`InputError` where it has gone since."""
        if self.path is not None and not run_folder(self.path).is_claimed():
            raise InputError(
                f"{self.path} was deleted or moved while it was trained in, and what it learns now "
                "would be lost; bring it back and resume, or begin anew"
            )
        return self.path

    def write_state(self, state: Callable[[], Mapping[str, Any]]) -> None:
        """Write the checkpoint."""
        gathered = gather_state(state()) if self.split else None
        if folder := self._find():
            storage.write_state(folder / CHECKPOINT, gathered or state())

    def write_weights(self, name: str, weights: Mapping[str, Tensor], epoch: int) -> None:
        """Write weights for users, unless they are there."""
        weights = gather_state(weights) if self.split else weights
        if (folder := self._find()) is None:
            return
        path, about = folder / name, {"epoch": str(epoch), "run": self.run}
        if not path.exists() or storage.read_metadata(path, False, AGAIN) != about:
            storage.write_weights(path, weights, about)

    def write_validation(self, which: str, kept: Predictions) -> None:
        """Write what was predicted on validation after the last or the best epoch."""
        if folder := self._find():
            kept.write(validation_file(folder, which), self.run)


def _check_epochs(known: RunRecord, saved: dict[str, Any], epochs: int) -> None:
    """Raise :class:`InputError` if a run that has begun cannot have this number of epochs."""
    done, total = len(saved["history"]), known.settings.epochs
    if epochs < done:
        raise InputError(
            f"epochs must be at least {done}, which {known.folder} has been trained for, found "
            f"{epochs}; choose another folder for a shorter run"
        )
    read = saved["total_read"] if "total_read" in saved else _has_read_total(known)
    if epochs != total and read:
        schedule = known.settings.schedule
        also = "" if schedule == "constant" else f" or schedule {schedule!r}"
        raise InputError(
            f"epochs cannot become {epochs} in {known.folder}: method {known.method['name']!r}"
            f"{also} has read that there were to be {total}, and would have begun otherwise; "
            "start a new run in another folder"
        )


def _has_read_total(known: RunRecord) -> bool:
    """Whether a run of format 1 depends on its number of epochs; the schedules did not."""
    options, members = known.method["options"], split_chain(known.method["name"])
    for name in members:
        chosen = options if len(members) == 1 else options.get(name, {})
        asked = READ_TOTAL.get(name, None if name in METHODS.own else ())
        if asked is not None and (not asked or any(chosen.get(o) is None for o in asked)):
            return True
    return False


def read_validation(folder: Path, epochs: dict[str, int]) -> dict[str, Predictions]:
    """What a run kept of its validation.

    Args:
        folder: of the run.
        epochs: ``"last"`` and ``"best"`` -> number of the epoch. What is of another one is left
            out: a run that was killed between two files repeats this epoch.
    """
    found = {}
    for which, epoch in epochs.items():
        with suppress(InputError):  # not there in old runs
            kept = Predictions.read(validation_file(folder, which))
            if kept.epoch == epoch:
                found[which] = kept
    return found


def validation_file(folder: Path, which: str) -> Path:
    """Where the predictions on validation of the last or the best epoch lie."""
    return folder / f"validation-{which}.safetensors"
