"""What the estimators share: training, reading what users pass, predicting."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from counterpoise.core.device import float32
from counterpoise.core.loader import Loader
from counterpoise.core.tasks import Classification, Task
from counterpoise.data.dataset import Dataset, Split
from counterpoise.data.duplicates import warn_of_copies
from counterpoise.data.modalities import TABLE, Modalities
from counterpoise.data.tables import read_seed, to_column, to_modalities
from counterpoise.data.weights import normalise_splits, to_weights
from counterpoise.data.xy import (
    Forms,
    hold_out,
    read_inputs,
    read_rows,
    settle_splits,
    to_pair,
    to_split,
)
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_choice, check_mapping, show
from counterpoise.evaluation import evaluate, present_name
from counterpoise.fusion import Fusion
from counterpoise.methods.registry import build_method
from counterpoise.training.build import build_model, known_kinds
from counterpoise.training.declaration import arguments
from counterpoise.training.fit import fit as train
from counterpoise.training.progress import show_epochs
from counterpoise.training.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self

    from counterpoise.deploy.predictor import Predictor

Inputs = Mapping[str, Any] | Modalities
_SETTINGS = arguments(Settings, without=("seed",))  # that is random_state
if TYPE_CHECKING:
    _Arguments = Any  # type checkers cannot see the settings, so they accept any name
else:
    _Arguments = make_dataclass("_Arguments", _SETTINGS, kw_only=True, eq=False, repr=False)


@dataclass(eq=False, repr=False)  # for the constructor, whose signature scikit-learn reads
class Multimodal(_Arguments, BaseEstimator):
    """What the estimators share: all but the target."""

    method: str | Method | type[Method] = "joint"
    _: KW_ONLY
    method_options: Mapping[str, Any] | None = None
    encoders: Mapping[str, nn.Module | str] | None = None
    fusion: str | Fusion | type[Fusion] | None = None
    width: int = 128
    validation_fraction: float = 0.15
    select: str = "best"
    random_state: int | np.random.RandomState | None = 0
    device: str = "cpu"
    precision: str = "fp32"
    indicators: bool = False
    verbose: bool = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = tags.input_tags.allow_nan = True
        return tags

    def _more_tags(self) -> dict[str, Any]:  # of scikit-learn before 1.6
        return {"allow_nan": True, "multilabel": True, "multioutput": True}

    @abstractmethod
    def _task(self, y: Any) -> Task:
        """The task that a target sets; keeps what is needed to read others like it."""

    @abstractmethod
    def _target(self, y: Any) -> Tensor:
        """A target as the task takes it."""

    def fit(
        self,
        X: Inputs,
        y: Any,
        *,
        groups: Any = None,
        validation: tuple[Inputs, Any] | None = None,
        sample_weight: Any = None,
    ) -> Self:
        """Train from anew. Nothing that was passed in is changed.

        Args:
            X: modality -> array, tensor, table or list [N, ...], as a dict or :class:`Modalities`;
                None or a row of NaN is missing. Some NaN in a row are values not measured, which
                become the training mean of their channel. Lists of rows of several lengths are
                sequences, as in :class:`counterpoise.ArrayData`. Every row has at least one
                modality. One plain table [N, F] of numbers is the modality ``"x"``.
            y: [N] labels, [N, K] of 0 and 1 for several labels at once, or numbers [N] or [N, K]
                for regression.
            groups: [N] labels; of a group (a subject, a writer) either all samples are held out
                or none.
            validation: ``(X, y)`` to validate on; by default ``validation_fraction`` of the
                samples are held out, the same share of each class. Never trained on.
            sample_weight: [N] numbers of at least 0, the factor of each sample's loss, brought to
                a mean of 1 over the samples that are trained on. They change no metric.

        Raises:
            InputError: arrays or settings that do not fit together, in one line.
        """
        self.__dict__.pop("model_", None)  # a fit that fails leaves nothing half old
        check_choice("select", self.select, ("best", "last"))
        y, seed = to_column(y, isinstance(self, ClassifierMixin)), read_seed(self.random_state)
        settings = Settings(**{name: getattr(self, name) for name, *_ in _SETTINGS}, seed=seed)
        task = self._task(y)
        data, like = self._data(X, y, task, groups, validation, sample_weight, seed)
        # Copies, so that nothing given is trained in place and a second fit starts where this did.
        options = check_mapping("method_options", self.method_options, "values")
        method = build_method(deepcopy(self.method), **options)
        encoders, fusion = deepcopy(self._encoders()), deepcopy(self.fusion)
        chosen: dict[str, Any] = {"width": self.width, "precision": self.precision, "seed": seed}
        model = build_model(data, method, encoders=encoders, fusion=fusion, **chosen)
        with show_epochs(settings.epochs, present_name(like), show=self.verbose) as bars:
            run = train(model, data, method, settings=settings, device=self.device, callbacks=bars)
        self.method_, self.run_, self.task_ = method, run, run.task
        self.n_iter_ = len(run.history)
        self.modalities_, self._like = tuple(like), like
        if self.select == "best":  # in a copy: the run goes on to hold the last epoch
            model, self.method_ = deepcopy((model, method))
            model.load_state_dict(run.best_weights[0])
            self.method_.load_state_dict(run.best_weights[1])
        self.method_.eval()
        self.model_ = model
        return self

    def _encoders(self) -> dict[str, Any]:
        return check_mapping("encoders", self.encoders, "encoders")

    def _data(
        self, X: Any, y: Any, task: Task, groups: Any, validation: Any, weight: Any, seed: int
    ) -> tuple[Dataset, Forms]:
        """What :meth:`fit` trains and validates on; and modality -> how rows become samples."""
        if not isinstance(self.indicators, bool | np.bool_):
            raise InputError(f"indicators must be True or False, found {show(self.indicators)}")
        inputs, present, axes = read_rows(to_modalities(X, self, fitting=True))
        whole = to_split(inputs, present, self._target(y), task)
        if weight is not None:
            weights = to_weights(weight, len(whole), "sample_weight")
            whole.weight = torch.from_numpy(weights)
        splits = {"train": whole}
        if validation is None:
            classes = whole.target.numpy() if isinstance(task, Classification) else None
            splits = hold_out(whole, classes, groups, self.validation_fraction, seed)
        elif groups is not None:
            raise InputError("groups say what to hold out; leave them out beside validation")
        normalise_splits(splits, "sample_weight")
        kinds = known_kinds(self._encoders())
        splits, like = settle_splits(splits, axes, kinds, self.indicators)
        if validation is not None:
            held, goal = to_pair(validation)
            splits["validation"] = self._split(held, goal, task, like)
            warn_of_copies(splits)
        return Dataset(task, splits, forms=like), like

    @float32()
    def evaluate(self, X: Inputs, y: Any) -> dict[str, dict[str, float]]:
        """Metrics with every subset of the modalities in ``X``.

        Args:
            X: as in ``predict``. A sample counts for every subset of which it has a part.
            y: as in :meth:`fit`, with no new class.

        Returns:
            Modalities, sorted and joined by ``+`` -> metric -> value, of all metrics that the task
            lists.
        """
        check_is_fitted(self, "model_")
        samples = self._split(X, y, self.task_, self._like)
        there = {m for m, mask in samples.present.items() if bool(mask.any())}
        data = Dataset(self.task_, {"train": samples})  # the one split that every data set has
        found = evaluate(self.model_, data, self.method_, split="train").metrics
        return {present_name(s): metrics for s, metrics in found.items() if set(s) <= there}

    @float32()
    def predictor(self, *, validation: tuple[Inputs, Any] | None = None) -> Predictor:
        """What answers rows with any modalities, calibrated (:class:`counterpoise.Predictor`).

        Args:
            validation: ``(X, y)`` to calibrate on; by default what :meth:`fit` held out, which an
                estimator that was pickled does not hold any more.

        Raises:
            InputError: nothing to calibrate on.
        """
        from counterpoise.deploy.inputs.preprocessing import Preprocessing
        from counterpoise.deploy.pack import make_predictor

        check_is_fitted(self, "model_")
        data, run = self.run_.data, self.run_
        if validation is not None:
            held = self._split(*to_pair(validation), self.task_, self._like)
            rows = held[torch.zeros(0, dtype=torch.int64)]
            none = Split(rows.inputs, rows.present, rows.target)
            splits = {"train": none if data is None else data.train, "validation": held}
            data = Dataset(self.task_, splits, forms=self._like)
        if data is None:
            raise InputError(
                "validation must be a pair (X, y) to calibrate on, since an estimator that was "
                "pickled holds none, found None"
            )
        epoch = run.best_epoch if self.select == "best" else len(run.history) - 1
        return make_predictor(
            self.model_,
            self.method_,
            self.task_,
            data,
            preprocessing={
                m: replace(Preprocessing.of(data, m), columns=self._features(m))
                for m in self.modalities_
            },
            classes=self._classes(),
            training={
                "settings": run.settings.plain(),
                "which": self.select,
                "epoch": epoch,
                "history": run.history,
            },
        )

    def save(
        self,
        path: Path | str,
        *,
        validation: tuple[Inputs, Any] | None = None,
        overwrite: bool = False,
        license: str | None = None,
    ) -> None:
        """Write a pack, which :meth:`counterpoise.Predictor.load` opens anywhere.

        Args:
            path: of a folder that does not exist, or is empty.
            validation: see :meth:`predictor`.
            overwrite: replace a pack that is there.
            license: of the model, as the Hub names it, such as ``"mit"``.

        Raises:
            InputError: nothing to calibrate on, or labels that JSON cannot hold.
        """
        made = self.predictor(validation=validation)
        made.save(path, overwrite=overwrite, license=license)

    def _features(self, modality: str) -> tuple[str, ...]:
        """What the columns of a modality were called, where it was a data frame."""
        named = getattr(self, "feature_names_in_", ()) if modality == TABLE else ()
        known = getattr(self, "_columns", {}).get(modality, ())
        return tuple(map(str, named)) or tuple(map(str, known))

    def _classes(self) -> list[Any] | None:
        """What the classes or labels are called; None of a regression."""
        return None

    def _split(self, X: Any, y: Any, task: Task, like: Forms) -> Split:
        """Samples as at fit, with their targets."""
        inputs, present = read_inputs(to_modalities(X, self, fitting=False), like)
        return to_split(inputs, present, self._target(y), task)

    @float32()
    def _logits(self, X: Inputs) -> Tensor:
        """[N, K] on the host, in double precision; of a regression in the units of ``y``."""
        check_is_fitted(self, "model_")
        inputs, present = read_inputs(to_modalities(X, self, fitting=False), self._like)
        samples = Split({**inputs}, present, torch.zeros(len(next(iter(present.values())))))
        with torch.no_grad():
            batches = Loader(samples, 256, device=self.model_.device).whole()
            parts = [self.method_.predict(self.model_, batch).cpu() for batch in batches]
        logits = torch.cat(parts)
        if not bool(logits.isfinite().all()):
            row = int((~logits.isfinite().all(1)).nonzero()[0])
            raise InputError(f"X gives no finite prediction in row {row}; its values are extreme")
        return self.model_.decode(logits.double())
