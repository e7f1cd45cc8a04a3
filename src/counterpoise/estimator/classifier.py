"""The estimator of classes, one of several or several at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from torch import Tensor

from counterpoise.core.tasks import Classification, MultiLabel, Task
from counterpoise.data.tables import check_scored
from counterpoise.data.targets import warn_of_amounts
from counterpoise.data.xy import Array, are_indicators, to_array, to_labels
from counterpoise.errors import InputError
from counterpoise.training.declaration import describe
from counterpoise.training.settings import Settings

from .base import Inputs, Multimodal


@dataclass(eq=False, repr=False)  # so that its constructor bears its name
class MultimodalClassifier(ClassifierMixin, Multimodal):
    """Classify samples of several modalities, any of which may be missing, now or later.

    ``X`` is a dict modality -> array [N, ...]. Samples of shape [F] get an MLP, [C, T] a 1-D CNN,
    [H, W] (sides alike, from 8 on) and [C, H, W] a 2-D CNN, unless ``encoders`` decides otherwise.
    To predict, any part of the modalities will do, for all samples or for single rows. A ``y`` of
    0 and 1, [N, K], means several labels at once (:class:`counterpoise.MultiLabel`).

    ``cross_val_score``, ``GridSearchCV`` and their kin take rows of ``X``, which a dict does not
    allow: pass them ``Modalities(X)`` (:class:`counterpoise.Modalities`).

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
        indicators: beside each channel of real numbers stands another, which says what was
            measured (1) and what not (0).
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _task(self, y: Any) -> Task:
        self._several = are_indicators(y)
        if self._several:
            self.classes_ = np.arange(to_array(y).shape[1])
            return MultiLabel(len(self.classes_))
        try:
            labels = to_labels(y)
            self.classes_ = np.unique(labels)
        except TypeError:
            raise InputError("y must hold labels of one type, found several") from None
        if len(self.classes_) < 2:
            found = f"{len(self.classes_)} class: {self.classes_.tolist()}"
            raise InputError(f"y must hold at least 2 classes, found {found}")
        warn_of_amounts(self.classes_, len(labels))
        return Classification(len(self.classes_), tuple(map(str, self.classes_)))

    def _classes(self) -> list[Any]:
        classes: list[Any] = self.classes_.tolist()
        strange = next((c for c in classes if not isinstance(c, str | int | float)), None)
        if strange is not None:
            raise InputError(
                f"y must hold words or numbers for a pack, found {type(strange).__name__} "
                f"{strange!r}; fit on y.astype(str)"
            )
        return classes

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

    def predict(self, X: Inputs) -> Array:
        """The label [N] of each sample, or 0 and 1 for each label [N, K].

        Args:
            X: modality -> [N, ...], of any modalities that were fitted; None or a row of NaN is
                missing, and some NaN in a row become the training mean. Sequences that are longer
                than any of training are cropped, with a warning.

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

    def predict_proba(self, X: Inputs) -> Array:
        """The probability [N, K] of each class, in the order of ``classes_``; see ``predict``.

        Of several labels at once, each one's own.
        """
        logits = self._logits(X)
        probabilities: Array = (logits.sigmoid() if self._several else logits.softmax(1)).numpy()
        return probabilities

    def score(self, X: Inputs, y: Any, sample_weight: Any = None) -> float:
        """The accuracy; of several labels at once, the share of rows with every label right."""
        guess = self.predict(X)
        y, weight = check_scored(y, sample_weight, len(guess))
        return float(accuracy_score(y, guess, sample_weight=weight))


MultimodalClassifier.__doc__ = (MultimodalClassifier.__doc__ or "").replace(
    "        SETTINGS", "\n".join(describe(Settings, without=("seed",)))
)
