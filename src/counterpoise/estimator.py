"""The scikit-learn door: estimators that learn from a dict of arrays and predict from any part."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, make_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from .core.loader import Loader
from .core.tasks import Classification, MultiLabel, Regression, Task
from .data.dataset import Dataset, Split
from .data.xy import (
    Array,
    Forms,
    Tensors,
    are_indicators,
    hold_out,
    read_inputs,
    read_rows,
    settle_splits,
    to_array,
    to_labels,
)
from .engine.method import Method
from .errors import InputError, check_choice
from .evaluation import evaluate, present_name
from .fusion import Fusion
from .methods.registry import build_method
from .training.build import build_model, known_kinds
from .training.declaration import arguments, describe
from .training.fit import fit as train
from .training.progress import show_epochs
from .training.settings import Settings

if TYPE_CHECKING:
    from typing_extensions import Self

_SETTINGS = arguments(Settings, without=("seed",))  # that is random_state
if TYPE_CHECKING:
    _Arguments = Any  # type checkers cannot see the settings, so they accept any name
else:
    _Arguments = make_dataclass("_Arguments", _SETTINGS, kw_only=True, eq=False, repr=False)


@dataclass(eq=False, repr=False)  # for the constructor, whose signature scikit-learn reads
class _Multimodal(_Arguments, BaseEstimator):
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

    @abstractmethod
    def _task(self, y: Any) -> Task:
        """The task that a target sets; keeps what is needed to read others like it."""

    @abstractmethod
    def _target(self, y: Any) -> Tensor:
        """A target as the task takes it."""

    def fit(
        self,
        X: Mapping[str, Any],
        y: Any,
        *,
        groups: Any = None,
        validation: tuple[Mapping[str, Any], Any] | None = None,
    ) -> Self:
        """Train from anew. Nothing that was passed in is changed.

        Args:
            X: modality -> array, tensor or list [N, ...] as in :class:`counterpoise.ArrayData`; a
                row of NaN is missing. Every row has at least one modality.
            y: [N] labels, [N, K] of 0 and 1 for several labels at once, or numbers [N] or [N, K]
                for regression.
            groups: [N] labels; of a group (a subject, a writer) either all samples are held out
                or none.
            validation: ``(X, y)`` to validate on; by default ``validation_fraction`` of the
                samples are held out, the same share of each class. Never trained on.

        Raises:
            InputError: arrays or settings that do not fit together, in one line.
        """
        self.__dict__.pop("model_", None)  # a fit that fails leaves nothing half old
        check_choice("select", self.select, ("best", "last"))
        task, seed = self._task(y), self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        seed = int(seed)
        data, like = self._data(X, y, task, groups, validation, seed)
        # Copies, so that nothing given is trained in place and a second fit starts where this did.
        method = build_method(deepcopy(self.method), **(self.method_options or {}))
        encoders = deepcopy(dict(self.encoders or {}))
        model = build_model(
            data,
            method,
            encoders=encoders,
            fusion=deepcopy(self.fusion),
            width=self.width,
            precision=self.precision,
            seed=seed,
        )
        settings = {name: getattr(self, name) for name, *_ in _SETTINGS} | {"seed": seed}
        with show_epochs(self.epochs, present_name(like), show=self.verbose) as bars:
            run = train(model, data, method, device=self.device, callbacks=bars, **settings)
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

    def _data(
        self, X: Any, y: Any, task: Task, groups: Any, validation: Any, seed: int
    ) -> tuple[Dataset, Forms]:
        """What :meth:`fit` trains and validates on; and modality -> how rows become samples."""
        inputs, present, axes = read_rows(X)
        splits = {"train": (whole := self._split(inputs, present, y, task))}
        if validation is None:
            classes = whole.target.numpy() if isinstance(task, Classification) else None
            splits = hold_out(whole, classes, groups, self.validation_fraction, seed)
        elif groups is not None:
            raise InputError("groups say what to hold out; leave them out beside validation")
        splits, like = settle_splits(splits, axes, known_kinds(self.encoders), self.indicators)
        if validation is not None:
            splits["validation"] = self._split(
                *read_inputs(validation[0], like), validation[1], task
            )
        return Dataset(task, splits, forms=like), like

    def evaluate(self, X: Mapping[str, Any], y: Any) -> dict[str, dict[str, float]]:
        """Metrics with every subset of the modalities in ``X``.

        Args:
            X: as in ``predict``. A sample counts for every subset of which it has a part.
            y: as in :meth:`fit`, with no new class.

        Returns:
            Modalities, sorted and joined by ``+`` -> metric -> value, of all metrics that the task
            lists.
        """
        check_is_fitted(self, "model_")
        held = self._split(*read_inputs(X, self._like), y, self.task_)
        # Under the name of the one split that every data set has.
        rows, there = {"train": held}, {m for m, mask in held.present.items() if mask.any()}
        found = evaluate(
            self.model_, Dataset(self.task_, rows), self.method_, split="train"
        ).metrics
        return {present_name(s): metrics for s, metrics in found.items() if set(s) <= there}

    def _logits(self, X: Mapping[str, Any]) -> Tensor:
        """[N, K] on the host, in double precision."""
        check_is_fitted(self, "model_")
        inputs, present = read_inputs(X, self._like)
        samples = Split({**inputs}, present, torch.zeros(len(next(iter(present.values())))))
        with torch.no_grad():
            batches = Loader(samples, 256, device=self.model_.device).whole()
            parts = [self.method_.predict(self.model_, batch).cpu() for batch in batches]
        return torch.cat(parts).double()

    def _split(self, inputs: Tensors, present: Tensors, y: Any, task: Task) -> Split:
        target, rows = self._target(y), len(next(iter(present.values())))
        if target.shape[:1] != (rows,):
            raise InputError(
                f"y must hold one value per row of X ({rows}), found shape {list(target.shape)}"
            )
        task.check(target, "y")
        return Split({**inputs}, present, target)


class MultimodalClassifier(ClassifierMixin, _Multimodal):
    """Classify samples of several modalities, any of which may be missing, now or later.

    ``X`` is a dict modality -> array [N, ...]. Samples of shape [F] get an MLP, [C, T] a 1-D CNN,
    [H, W] (sides alike, from 8 on) and [C, H, W] a 2-D CNN, unless ``encoders`` decides otherwise.
    To predict, any part of the modalities will do, for all samples or for single rows. A ``y`` of
    0 and 1, [N, K], means several labels at once (:class:`counterpoise.MultiLabel`).

    ``cross_val_score`` and ``GridSearchCV`` index ``X`` by rows, which a dict does not allow. Loop
    over ``KFold().split(y)``, ``clone`` the estimator, and pass ``{m: X[m][rows] for m in X}``.

    Args:
        method: how to train: a name in ``METHODS``, a :class:`Method` or its class.
        method_options: of the method, by name.
        encoders: modality -> a name in ``ENCODERS`` with or without options, such as
            ``"lstm:layers=2"``, or a module [B, ...] -> [B, D], of which a copy is trained.
        fusion: a name in ``FUSIONS``, a :class:`Fusion` or its class; by default the first that the
            method can train.
        width: of the default encoders' features.
        SETTINGS
        validation_fraction: share of the samples that :meth:`fit` holds out.
        select: predict with the weights of the ``"best"`` epoch on validation, or the ``"last"``.
        random_state: of the held-out part, the initial weights and the training.
        device: where to train and predict.
        precision: ``"fp32"`` or ``"bf16"``.
        indicators: beside each channel, another says what was measured (1) and what not (0).
        verbose: show a progress bar over the epochs, in a terminal or notebook.

    Attributes:
        classes_: the labels, sorted; of several at once their numbers.
        modalities_: their names, in the order of ``X``.
        model_, method_: what predicts.
        run_: the :class:`Run`, with its ``history``.
        task_: what was learnt.
        n_iter_: how many epochs were trained.

    Example:
        >>> import numpy as np
        >>> from counterpoise.estimator import MultimodalClassifier
        >>> rng = np.random.default_rng(0)
        >>> y = np.array(["cat", "dog"] * 40)
        >>> sound, pose = rng.normal(size=(80, 4)), rng.normal(size=(80, 6))
        >>> sound[y == "dog"] += 3
        >>> pose[y == "dog"] -= 3
        >>> model = MultimodalClassifier("modality-dropout", epochs=10, width=16)
        >>> model = model.fit({"sound": sound, "pose": pose}, y)
        >>> model.predict({"sound": sound[:2]}).tolist()  # one modality will do
        ['cat', 'dog']
        >>> list(model.evaluate({"sound": sound, "pose": pose}, y))
        ['pose+sound', 'sound', 'pose']
    """

    def _task(self, y: Any) -> Task:
        self._several = are_indicators(y)
        if self._several:
            self.classes_ = np.arange(to_array(y).shape[1])
            return MultiLabel(len(self.classes_))
        try:
            self.classes_ = np.unique(to_labels(y))
        except TypeError:
            raise InputError("y must hold labels of one type, found several") from None
        if len(self.classes_) < 2:
            raise InputError(f"y must hold at least 2 classes, found {self.classes_.tolist()}")
        return Classification(len(self.classes_), tuple(map(str, self.classes_)))

    def _target(self, y: Any) -> Tensor:
        if self._several:
            if not are_indicators(y):
                raise InputError("y must hold 0 or 1 for each label ([N, K]), as at fit")
            return torch.from_numpy(np.array(to_array(y), dtype=np.float32))
        numbers = {label: k for k, label in enumerate(self.classes_.tolist())}
        labels = to_labels(y).tolist()
        for row, label in enumerate(labels):
            if label not in numbers:
                raise InputError(f"y must hold classes known to fit, found {label!r} in row {row}")
        return torch.tensor([numbers[label] for label in labels])

    def predict(self, X: Mapping[str, Any]) -> Array:
        """The label [N] of each sample, or 0 and 1 for each label [N, K].

        Args:
            X: modality -> [N, ...], of any modalities that were fitted; None or a row of NaN is
                missing, some NaN become the training mean; longer sequences are cropped.

        Raises:
            InputError: an unknown modality, another shape than at fit, a row with no modality.
        """
        chances = self.predict_proba(X)
        labels: Array
        if self._several:
            labels = (chances > 0.5).astype(np.int64)
        else:
            labels = self.classes_[chances.argmax(1)]
        return labels

    def predict_proba(self, X: Mapping[str, Any]) -> Array:
        """The probability [N, K] of each class, in the order of ``classes_``; see ``predict``.

        Of several labels at once, each one's own.
        """
        logits = self._logits(X)
        probabilities: Array = (logits.sigmoid() if self._several else logits.softmax(1)).numpy()
        return probabilities


MultimodalClassifier.__doc__ = (MultimodalClassifier.__doc__ or "").replace(
    "        SETTINGS", "\n".join(describe(Settings, without=("seed",)))
)


@dataclass(eq=False, repr=False)
class MultimodalRegressor(RegressorMixin, _Multimodal):
    """Predict numbers from samples of several modalities, any of which may be missing.

    As :class:`MultimodalClassifier`, for targets [N] or [N, K]. Scale them to a spread of about 1,
    which the learning rate is meant for. ``score`` is R^2; the best epoch has the least mean
    absolute error.

    Args:
        loss: ``"mse"`` or ``"l1"``; everything else as in :class:`MultimodalClassifier`.

    Example:
        >>> import numpy as np
        >>> from counterpoise.estimator import MultimodalRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = {"sound": rng.normal(size=(80, 4)), "pose": rng.normal(size=(80, 6))}
        >>> y = X["sound"][:, 0] + X["pose"][:, 0]
        >>> model = MultimodalRegressor(epochs=10, width=32).fit(X, y)
        >>> model.predict({"pose": X["pose"][:3]}).shape
        (3,)
        >>> model.score(X, y) > 0.5
        True
    """

    loss: str = "mse"

    def _task(self, y: Any) -> Task:
        self._shape = tuple(self._target(y).shape[1:])
        return Regression(self._shape[0] if self._shape else 1, loss=self.loss)

    def _target(self, y: Any) -> Tensor:
        try:
            with np.errstate(over="ignore"):  # the task refuses infinities
                return torch.from_numpy(np.array(to_array(y), dtype=np.float32))
        except (TypeError, ValueError):
            raise InputError("y must hold numbers, [N] or [N, K]") from None

    def predict(self, X: Mapping[str, Any]) -> Array:
        """The numbers [N] or [N, K] of each sample, in the shape of ``y`` at fit.

        Args:
            X: modality -> [N, ...], of any modalities that were fitted; None or a row of NaN is
                missing, some NaN become the training mean; longer sequences are cropped.

        Raises:
            InputError: an unknown modality, another shape than at fit, a row with no modality.
        """
        numbers: Array = self._logits(X).numpy()
        return numbers.reshape(-1, *self._shape)
