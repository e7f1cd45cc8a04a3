"""A trained model and how it came about; its state, written and read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from counterpoise.core import ranks
from counterpoise.core.device import float32
from counterpoise.core.paths import expand
from counterpoise.core.schema import RAISED
from counterpoise.core.shards import map_nested, share_state, whole
from counterpoise.core.task import Task
from counterpoise.data.dataset import Dataset
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_choice
from counterpoise.evaluation.evaluator import evaluate
from counterpoise.evaluation.result import Evaluation
from counterpoise.evaluation.subsets import Subsets
from counterpoise.models.multimodal import MultimodalModel
from counterpoise.models.sharded import gather_model

from .checkpoint import ADVICE, check_like, check_optimizer
from .folder import BEST, Files, open_checkpoint, read_validation
from .frozen import FOLDER, FrozenFeatures
from .predictions import Predictions
from .record import RunRecord
from .settings import Settings
from .setup import make_context
from .task import prepare_task

if TYPE_CHECKING:
    from counterpoise.deploy.predictor import Predictor

History = list[dict[str, Any]]


@dataclass(repr=False)
class Run:
    """A trained model and how it came about.

    Attributes:
        model: with the weights of the last epoch, in evaluation mode.
        method: with its state of the last epoch.
        settings: how it was trained.
        task: what it learnt, with the metric and the class weights that the settings ask for.
        history: a dict an epoch: ``epoch``, ``loss`` (name -> mean), ``validation``
            (subset -> primary metric -> value, of all modalities, each alone, and those that
            ``settings.best_with`` names), ``seconds``, and of them ``processor``, which
            leaves out what other programs took.
        best_epoch: where the primary metric on validation was best, with all modalities or
            those that ``settings.best_with`` names.
        best_weights: the model's and the method's state dicts of that epoch.
        validation: ``"last"`` and ``"best"`` -> what was predicted on the validation split after
            that epoch, with all modalities and with each alone. A run that another version
            trained, or that was killed, may lack them until it is resumed.
        data: what it was trained on; no part of a copy that is pickled.
        made_with: what its folder says of how it was made, where it was read from one.
        features: of frozen encoders, of which evaluation on ``data`` makes use; no part of such a
            copy either.
    """

    model: MultimodalModel
    method: Method
    settings: Settings
    task: Task
    history: History = field(default_factory=list)
    best_epoch: int = -1
    best_weights: tuple[dict[str, Tensor], dict[str, Tensor]] = field(default=({}, {}))
    validation: dict[str, Predictions] = field(default_factory=dict)
    data: Dataset | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict)
    features: FrozenFeatures | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"data": None, "features": None}

    def __repr__(self) -> str:
        epochs = f"{len(self.history)} epochs, best {self.best_epoch}"
        return f"Run({self.method.label()!r}, {epochs})"

    def evaluate(
        self, data: Dataset, split: str = "test", which: str = "last", subsets: Subsets = None
    ) -> Evaluation:
        """All metrics of the subsets, with the weights of the ``"last"`` or ``"best"`` epoch.

        Of several ranks, every one must call it (:func:`counterpoise.evaluate`).
        """
        with load_weights(self, which):
            if self.features is not None and data is self.data and split in data.splits:
                data = self.features.replace(split)
            return evaluate(
                self.model, data, self.method, split=split, task=self.task, subsets=subsets
            )

    def gather(self) -> None:
        """Give every rank the whole model, where ``fit(shard=True)`` has split it over them.

        Every rank must call it; then any of them can save or deploy the model.
        """
        gather_model(self.model)
        for module in self.method.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = whole(buffer)
        model, method = self.best_weights
        self.best_weights = map_nested(model, whole), map_nested(method, whole)

    @float32()
    def predictor(
        self,
        which: str = "last",
        *,
        data: Dataset | None = None,
        thresholds: Dataset | None = None,
        **others: Any,
    ) -> Predictor:
        """What answers new rows, with whatever modalities they have.

        Args:
            which: the weights of the ``"last"`` or the ``"best"`` epoch. The latter was chosen by
                all of validation, so thresholds set by a half of it are a little too bold.
            data: the data set, where the run does not hold it any more.
            thresholds: a data set whose validation split sets the thresholds, in place of one
                half of this one's.
            others: of :func:`counterpoise.deploy.make_predictor`.

        Raises:
            InputError: no data to calibrate on.
        """
        from counterpoise.deploy.pack import make_predictor

        check_choice("which", which, ("last", "best"))
        if self.model.units:
            raise InputError(
                f"the model is split over {ranks.world()} ranks; call run.gather() on every rank "
                "first, or open the folder of the run in one process"
            )
        data = data or self.data
        if data is None:
            raise InputError(
                "data must hold the data set of this run, which was trained elsewhere, found none"
            )
        # A copy, which stays as it is when the run's own model is trained on.
        model, method = deepcopy((self.model, self.method))
        if which == "best":
            model.load_state_dict(self.best_weights[0])
            method.load_state_dict(self.best_weights[1])
        training = {
            "settings": self.settings.plain(),
            "which": which,
            "epoch": self.best_epoch if which == "best" else len(self.history) - 1,
            "history": self.history,
            "made_with": dict(self.made_with),
        }
        return make_predictor(
            model, method, self.task, data, thresholds=thresholds, training=training, **others
        )

    def save(
        self,
        path: Path | str,
        which: str = "last",
        *,
        overwrite: bool = False,
        license: str | None = None,
        **others: Any,
    ) -> Predictor:
        """Write a pack, which :meth:`counterpoise.Predictor.load` opens without data or run.

        Args:
            path: of a folder that does not exist, or is empty.
            which: see :meth:`predictor`.
            overwrite: replace a pack that is there.
            license: of the model, as the Hub names it, such as ``"mit"``.
            others: of :meth:`predictor`.
        """
        made = self.predictor(which, **others)
        made.save(path, overwrite=overwrite, license=license)
        return made


@contextmanager
def load_weights(run: Run, which: str) -> Iterator[None]:
    """Within it, model and method are those of the ``"last"`` or the ``"best"`` epoch."""
    check_choice("which", which, ("last", "best"))
    if which == "last":
        yield
        return
    last = copy_state(run.model), copy_state(run.method)
    try:
        run.model.load_state_dict(run.best_weights[0])
        run.method.load_state_dict(run.best_weights[1])
        yield
    finally:
        run.model.load_state_dict(last[0])
        run.method.load_state_dict(last[1])


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def state_of(run: Run, ctx: Context) -> dict[str, Any]:
    return {
        "model": run.model.state_dict(),
        "method": run.method.state_dict(),
        **ctx.state_dict(),
        "history": json.dumps(run.history),
        "best_epoch": run.best_epoch,
        "best_model": run.best_weights[0],
        "best_method": run.best_weights[1],
    }


def restore(run: Run, ctx: Context, saved: dict[str, Any]) -> None:
    try:
        check_like(saved["model"], run.model.state_dict(), "model")
        check_optimizer(saved["optimizer"], ctx.optimizer)
        like = run.model.state_dict(), run.method.state_dict()
        run.model.load_state_dict(share_state(saved["model"], like[0]))
        run.method.load_state_dict(share_state(saved["method"], like[1]))
        ctx.load_state_dict(saved)
        run.history, run.best_epoch = saved["history"], saved["best_epoch"]
        best = saved["best_model"], saved["best_method"]
        for kept, wanted, what in zip(best, like, ("best_model", "best_method"), strict=True):
            check_like(kept, wanted, what)
        run.best_weights = (share_state(best[0], like[0]), share_state(best[1], like[1]))
        whole = run.settings.best_subset(run.model.modalities)
        if any(run.task.primary not in e["validation"].get(whole, {}) for e in run.history):
            raise ValueError(f"history lacks {run.task.primary} of {whole}")
    except InputError:
        raise
    except RAISED as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"checkpoint.pt does not fit this run ({reason:.200}); {ADVICE}") from None


def keep_validation(run: Run, result: Evaluation, files: Files) -> None:
    """Keep what the epoch that was recorded last predicts on validation; also on disk."""
    epoch = len(run.history) - 1
    kept = Predictions.of(result, epoch)
    for which in ("last", "best") if run.best_epoch == epoch else ("last",):
        run.validation[which] = kept
        files.write_validation(which, kept)


def restore_files(run: Run, data: Dataset, folder: Path, files: Files) -> None:
    """Read what :func:`keep_validation` wrote; make again what is not there, or of a later epoch.

    A kill may have come between the files of an epoch and its checkpoint.
    """
    files.write_weights(BEST, run.best_weights[0], run.best_epoch)
    epochs = _epochs(run)
    run.validation = ranks.ask_first(lambda: read_validation(folder, epochs))
    for which in sorted(epochs.keys() - run.validation.keys()):  # all ranks in one order
        found = run.evaluate(data, "validation", which, subsets=[])  # the whole, and each alone
        kept = Predictions.of(found, epochs[which])
        run.validation[which] = kept
        files.write_validation(which, kept)


def _epochs(run: Run) -> dict[str, int]:
    return {"last": len(run.history) - 1, "best": run.best_epoch}


@float32()
def load_run(folder: Path | str, model: MultimodalModel, data: Dataset, method: Method) -> Run:
    """A finished or unfinished run from its folder, with its model's weights loaded.

    Args:
        folder: where :func:`fit` wrote it.
        model: built as for training; takes the weights.
        data: the data set it was trained on.
        method: built as for training; takes its state.
    """
    folder = expand(folder)
    record = RunRecord.read(folder)
    saved = open_checkpoint(record)
    settings = record.settings
    model.freeze(*record.model.get("frozen", ()))
    run = Run(model, method, settings, prepare_task(data, settings, record.data))
    ctx = make_context(model, data, run.task, method, settings)
    method.setup(ctx)
    restore(run, ctx, saved)
    run.data, run.made_with = data, record.made_with
    run.validation = read_validation(folder, _epochs(run))
    if model.frozen and (folder / FOLDER).is_dir():
        run.features = FrozenFeatures(model, data, folder / FOLDER, write=False)
    model.eval()
    return run


def open_run(folder: Path | str, data_dir: str | None = None) -> tuple[Run, Dataset]:
    """A run that the command line trained, and its data set.

    Args:
        folder: of the run.
        data_dir: where data sets lie; or the folder of prepared data that has been moved.

    Raises:
        InputError: no run, a damaged one or one of a newer format; one whose data changed or whose
            model was built in Python (load that with :func:`load_run`).
    """
    record = RunRecord.read(folder)
    data = record.load_data(data_dir)
    model, method = record.build(data)
    return load_run(folder, model, data, method), data
