"""The estimator of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from torch import Tensor

from counterpoise.core.tasks import Regression, Task
from counterpoise.data.tables import check_scored
from counterpoise.data.targets import to_float32
from counterpoise.data.xy import Array, to_array
from counterpoise.errors import InputError

from .base import Inputs, Multimodal


@dataclass(eq=False, repr=False)
class MultimodalRegressor(RegressorMixin, Multimodal):
    """Predict numbers from samples of several modalities, any of which may be missing.

    As :class:`MultimodalClassifier`, for targets [N] or [N, K], in any units: they are standardised
    for the training, and predictions come in the units of ``y``. ``score`` is R^2; the best epoch
    has the least mean absolute error. Of several numbers, ``score`` is the mean of each one's R^2,
    as in all of scikit-learn, and ``evaluate`` pools their errors (the ``variance_weighted`` one).

    Args:
        loss: ``"mse"`` or ``"l1"``; everything else as in :class:`MultimodalClassifier`.

    Example:
        >>> import numpy as np
        >>> from counterpoise.estimator import MultimodalRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = {"sound": rng.normal(size=(80, 4)), "pose": rng.normal(size=(80, 6))}
        >>> y = X["sound"][:, 0] + X["pose"][:, 0]
        >>> model = MultimodalRegressor(width=32).fit(X, y)
        >>> model.predict({"pose": X["pose"][:3]}).shape
        (3,)
        >>> model.score(X, y) > 0.5
        True
    """

    loss: Literal["mse", "l1"] = "mse"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _task(self, y: Any) -> Task:
        target = self._target(y)
        if bool(target.isfinite().all()) and target.dim():  # the task refuses what is not
            to_float32(np.asarray(to_array(y), dtype=np.float64), "y")
        self._shape = tuple(target.shape[1:])
        return Regression(self._shape[0] if self._shape else 1, loss=self.loss)

    def _target(self, y: Any) -> Tensor:
        array = to_array(y)
        try:
            if array.dtype.kind not in "biufO" or 0 in array.shape:
                raise TypeError
            with np.errstate(over="ignore"):  # the task refuses infinities
                return torch.from_numpy(np.array(array, dtype=np.float32))
        except (TypeError, ValueError, OverflowError):
            why = " (Complex data not supported)" if array.dtype.kind == "c" else ""
            raise InputError(
                f"y must hold numbers, [N] or [N, K], found {array.dtype} {list(array.shape)}{why}"
            ) from None

    def predict(self, X: Inputs) -> Array:
        """The numbers [N] or [N, K] of each sample, in the shape of ``y`` at fit.

        Args:
            X: modality -> [N, ...], of any modalities that were fitted; None or a row of NaN is
                missing, and some NaN in a row become the training mean. Sequences that are longer
                than any of training are cropped, with a warning.

        Raises:
            InputError: an unknown modality, another shape than at fit, a row with no modality.
        """
        numbers: Array = self._logits(X).numpy()
        return numbers.reshape(-1, *self._shape)

    def score(self, X: Inputs, y: Any, sample_weight: Any = None) -> float:
        """R^2; of several numbers, the mean of each one's, as in all of scikit-learn."""
        guess = self.predict(X)
        y, weight = check_scored(y, sample_weight, len(guess))
        return float(r2_score(y, guess, sample_weight=weight))
