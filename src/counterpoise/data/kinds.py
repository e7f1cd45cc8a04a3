"""Which kind a sample is, by its shape: what decides its default encoder and its channels."""

from __future__ import annotations

from collections.abc import Sequence

from counterpoise.errors import InputError

KINDS = ("vector", "sequence", "image")


def kind_of(shape: Sequence[int], name: str = "input") -> str:
    """Guess what a sample of this shape is: a vector, a sequence [C, T] or an image.

    [F] is a vector and [C, H, W] an image. [A, B] is an image [H, W] if both sides are at least 8
    and neither is more than twice the other; otherwise it is a sequence [C, T].

    Raises:
        InputError: a shape with no small encoder.
    """
    if len(shape) == 1:
        return "vector"
    if len(shape) == 3:
        return "image"
    if len(shape) == 2:
        return "image" if min(shape) >= 8 and max(shape) <= 2 * min(shape) else "sequence"
    raise InputError(
        f"no default encoder for {name!r} with samples of shape {list(shape)}; pass one in "
        "`encoders` (the default ones take [F], [C, T], [H, W], [C, H, W] and frames [T, 3, H, W])"
    )
