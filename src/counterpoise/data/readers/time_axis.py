"""Which axis of the arrays of files is time: told by how their shapes differ, or asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from counterpoise.data.kinds import kind_of
from counterpoise.errors import InputError

Shape = tuple[int, ...]

MOST = 0.9  # of the cells: the others are reported as bad rows later
ASK = "say it by --set COLUMN.axis=0 ([time, channels]) or --set COLUMN.axis=1 ([channels, time])"


def find_time(shapes: Sequence[Shape], lines: bool = False, long: bool = False) -> int | None:
    """The axis of time; None where there is none (vectors, pictures).

    It is the one axis along which the arrays differ in size, and the first of tables of text, whose
    lines are steps. Vectors (also [1, N] and [N, 1]) and pictures [H, W] of one size have none.

    Args:
        shapes: of training cells.
        lines: all of them are tables of text.
        long: a length of time was asked for, so that nothing is a picture.

    Raises:
        InputError: it cannot be told.
    """
    usual_axes = Counter(map(len, shapes)).most_common(1)[0][0]
    flat = all(len(shape) < 2 or (len(shape) == 2 and 1 in shape) for shape in shapes)
    alike = [shape for shape in shapes if len(shape) == usual_axes]
    differing = _find_differing(alike)
    usual, count = Counter(alike).most_common(1)[0]
    if lines and flat and differing == [1] and 2 * count <= len(shapes):
        return 1  # a series in one line
    if lines or (usual_axes < 2 and len(alike) == len(shapes)):
        return 0
    if flat and (len(alike) < len(shapes) or len(differing) != 1):
        return None
    if len(differing) > 1:
        other = next(shape for shape in alike if shape != usual)
        raise InputError(
            f"its arrays differ in several axes, as {list(usual)} and {list(other)}; "
            + (ASK if usual_axes == 2 else "make them of one shape but for time")
        )
    if differing:
        # A few odd arrays say nothing, unless they differ where the others are long.
        rare = usual_axes == 2 and 2 * count > len(shapes)
        if not rare or usual[differing[0]] == max(usual):
            return differing[0]
        other = next(shape for shape in alike if shape[differing[0]] != usual[differing[0]])
        raise InputError(
            f"most arrays are {list(usual)}, and others differ in the shorter axis, as "
            f"{list(other)}; which axis is time is not certain: {ASK}"
        )
    if usual_axes != 2:
        if long and usual_axes > 2:
            raise InputError(
                f"its arrays are all {list(usual)}: which axis is time does not show; say it by "
                "--set COLUMN.axis=0, or 1, 2 .."
            )
        return 0
    if kind_of(usual) == "image" and not long:
        return None
    raise InputError(f"its arrays are all {list(usual)}: which axis is time does not show; {ASK}")


def _find_differing(shapes: Sequence[Shape]) -> list[int]:
    """The axes along which shapes of as many axes differ, without those in which few do."""
    sizes = [Counter(column) for column in zip(*shapes, strict=True)]
    differing = [axis for axis, found in enumerate(sizes) if len(found) > 1]
    if len(differing) > 1:
        most = MOST * len(shapes)
        differing = [k for k in differing if sizes[k].most_common(1)[0][1] < most] or differing
    return differing


def find_length(shapes: Sequence[Shape], axis: int | None) -> int | None:
    """The longest of time series; None where all are equally long, or most are equal vectors.

    Args:
        shapes: of training cells.
        axis: of time; None for vectors in any direction.
    """
    if axis is None:
        shapes = [(max(shape, default=1),) for shape in shapes if len(shape) < 2 or 1 in shape]
        axis = 0
    lengths = {shape[axis] for shape in shapes if -len(shape) <= axis < len(shape)}
    if len(lengths) < 2:
        return None
    usual, count = Counter(shapes).most_common(1)[0]
    return None if len(usual) == 1 and 2 * count > len(shapes) else max(lengths)
