"""Which encoder is taken where none is asked for."""

from __future__ import annotations

from collections.abc import Mapping

from counterpoise.data.kinds import kind_of

from .base import Shapes
from .text import IDS


def unstarted(label: str) -> str:
    """The label without weights to start from: those of a trained model come from its own file."""
    return ":".join(word for word in label.split(":") if not word.startswith("weights="))


def usual_encoder(shape: Shapes, name: str = "input") -> str:
    """The encoder that is taken for samples of a shape, where none is asked for.

    A small one by :func:`kind_of`; ``"resnet18"`` for frames [T, 3, H, W]; ``"tokens"`` for a dict
    that holds token numbers.

    Raises:
        InputError: a shape for which there is none.
    """
    if isinstance(shape, Mapping):
        return "tokens" if IDS in shape else kind_of(next(iter(shape.values())), name)
    return "resnet18" if len(shape) == 4 and shape[1] == 3 else kind_of(shape, name)
