"""One plain table as ``X``, and ``y`` as a column, by the rules of scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_random_state
from torch import Tensor

from counterpoise.errors import InputError, check_number, plain

from .modalities import TABLE, Modalities
from .weights import Weights, to_weights


def to_modalities(X: Any, estimator: Any, fitting: bool) -> Mapping[str, Any]:
    """A dict modality -> array; of a table [N, F], the one modality ``"x"``.

    Args:
        X: what the user passes.
        estimator: its ``n_features_in_`` and ``feature_names_in_`` are those of the table, which
            are set at fit and checked later.
        fitting: whether this is the ``X`` of fit.

    Raises:
        InputError: no dict and no table of real numbers; another table than at fit.
    """
    if fitting:
        for name in ("n_features_in_", "feature_names_in_"):
            vars(estimator).pop(name, None)
    if isinstance(X, Modalities) or (isinstance(X, Mapping) and not hasattr(X, "shape")):
        _check_columns(X, estimator, fitting)
        return dict(X.items())
    # What has a shape and keys is a sparse matrix.
    table = hasattr(X, "__len__") or hasattr(X, "__array__") or hasattr(X, "shape")
    if isinstance(X, str) or not table or not (fitting or hasattr(estimator, "n_features_in_")):
        raise InputError(f"X must be a dict modality -> array, found {type(X).__name__}")
    given = X.detach().cpu().numpy() if isinstance(X, Tensor) else X
    try:
        return {TABLE: _validate(estimator, given, reset=fitting)}
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"X must be a dict modality -> array, or one table [N, F]: {reason}"
        ) from None


def _check_columns(X: Any, estimator: Any, fitting: bool) -> None:
    """Keep the names of the columns of data frames at fit, and refuse other ones later."""
    named = {}
    for modality, value in X.items():
        columns = list(getattr(value, "columns", ()))
        if columns and all(isinstance(column, str | int) for column in columns):
            named[modality] = columns
    if fitting:
        estimator._columns = named
    for modality, columns in named.items():
        known = estimator._columns.get(modality, columns)
        if columns != known:
            raise InputError(
                f"X[{modality!r}] must have the columns of fit in their order, {known[:6]}, "
                f"found {columns[:6]}"
            )


def _validate(estimator: Any, X: Any, reset: bool) -> Any:
    """float32 or float64 [N, F], as every estimator of scikit-learn would read it."""
    kinds = [np.float32, np.float64]
    try:
        from sklearn.utils.validation import validate_data
    except ImportError:  # before scikit-learn 1.6
        check = estimator._validate_data
        return check(X, reset=reset, dtype=kinds, force_all_finite="allow-nan")
    return validate_data(estimator, X, reset=reset, dtype=kinds, ensure_all_finite="allow-nan")


def to_column(y: Any, labels: bool) -> Any:
    """Labels [N, 1] as [N], with scikit-learn's warning; everything else as it is."""
    if y is None:
        raise InputError("fit requires y to be passed, but the target y is None")
    shape: tuple[int, ...] = getattr(y, "shape", ())
    if not labels or len(shape) != 2 or shape[1] != 1:
        return y
    warnings.warn(
        "A column-vector y was passed when a 1d array was expected; pass y[:, 0] ([N])",
        DataConversionWarning,
        stacklevel=3,
    )
    return y.iloc[:, 0] if hasattr(y, "iloc") else y[:, 0]


def check_scored(y: Any, weight: Any, rows: int) -> tuple[Any, Weights | None]:
    """Targets as arrays and the weights of the samples, as scikit-learn's metrics take them."""
    y = y.detach().cpu().numpy() if isinstance(y, Tensor) else y
    shape = np.shape(y)
    if shape[:1] != (rows,):
        raise InputError(f"y must hold one value per row of X ({rows}), found shape {list(shape)}")
    return y, None if weight is None else to_weights(weight, rows, "sample_weight")


def read_seed(random_state: Any) -> int:
    """A seed from what scikit-learn calls a random state."""
    random_state = plain(random_state)
    if isinstance(random_state, int) and not isinstance(random_state, bool):
        check_number("random_state", random_state, 0, 2**32 - 1, whole=True)
        return random_state
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return int(check_random_state(random_state).randint(2**31 - 1))
    found = " ".join(repr(random_state).split())
    raise InputError(f"random_state must be a whole number, a RandomState or None, found {found}")
