"""The encoder of a modality for which none was chosen."""

from __future__ import annotations

from collections.abc import Mapping

from counterpoise.data.kinds import kind_of

from .base import Shapes
from .text import IDS


def unstarted(label: str) -> str:
    """The label without initial weights, since a trained model loads its own."""
    return ":".join(word for word in label.split(":") if not word.startswith("weights="))


def usual_encoder(shape: Shapes, name: str = "input") -> str:
    """The encoder for samples of a shape, if none was chosen.

    A small one by :func:`kind_of`; ``"resnet18"`` for frames [T, 3, H, W]; ``"tokens"`` for a dict
    that holds token numbers.

    Raises:
        InputError: a shape for which there is none.
    """
    if isinstance(shape, Mapping):
        return "tokens" if IDS in shape else kind_of(next(iter(shape.values())), name)
    return "resnet18" if len(shape) == 4 and shape[1] == 3 else kind_of(shape, name)
