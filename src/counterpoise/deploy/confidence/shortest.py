"""Numbers of single precision as JSON holds them: short, and exactly the same when read again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_shortest(values: NDArray[np.float32]) -> list[float]:
    """The decimal number with the fewest digits that is read as the same float32, for each."""
    return [float(str(value)) for value in values]
