"""Values with mean 0 and deviation 1 over the training samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def standardise(values: NDArray[Any], train: NDArray[np.bool_]) -> NDArray[np.float32]:
    """``values`` [N, ...] less one mean, by one deviation, both over the rows ``train`` [N]."""
    known = values[train].astype(np.float64)
    scaled: NDArray[np.float32] = ((values - known.mean()) / known.std()).astype(np.float32)
    return scaled
