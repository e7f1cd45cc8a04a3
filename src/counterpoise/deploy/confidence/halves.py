"""One half of validation calibrates, and the other half, untouched by that, measures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from counterpoise.core.tasks import Classification, Task
from counterpoise.data.splits import part_off, to_groups


def halve(task: Task, target: Tensor, groups: Tensor | None, seed: int) -> NDArray[np.bool_]:
    """bool [N]: the samples of the second half; the first is the larger one of an odd number.

    Halves are drawn class by class, or by whole groups, the classes of both as alike as that
    allows. Fewer than two samples or groups cannot be parted: the second half is empty then.

    Args:
        task: what is predicted.
        target: [N, ...].
        groups: [N] or None, which samples must stay together (of one speaker, one patient).
        seed: two calls with the same arguments agree.

    Raises:
        InputError: groups of another number than the samples.
    """
    count = len(target)
    classes = np.zeros(count, dtype=np.int64)
    if isinstance(task, Classification):
        classes = target.cpu().numpy()
    codes = None if groups is None else to_groups(groups, count)
    if count < 2 or (codes is not None and len(np.unique(codes)) < 2):
        return np.zeros(count, dtype=np.bool_)
    return part_off(classes, codes, 0.5, seed)
