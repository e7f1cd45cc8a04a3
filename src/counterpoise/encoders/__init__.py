"""Encoders: small ones, those of the papers, and adapters to other libraries.

May import: ``data`` and what is below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from counterpoise.core.labels import parse_label
from counterpoise.data.kinds import KINDS, kind_of
from counterpoise.errors import unknown

from .adapter import Adapter
from .base import Encoder, Shapes
from .hugging_face import HuggingFace
from .resnet import ResNet18
from .sequence import LSTM, Steps, Transformer
from .small import MLP, CNN1d, CNN2d, Standardize, default_encoder
from .text import IDS, Tokens

ENCODERS: dict[str, type[Encoder]] = {
    "vector": MLP,
    "sequence": CNN1d,
    "image": CNN2d,
    "mlp": MLP,
    "cnn1d": CNN1d,
    "cnn2d": CNN2d,
    "resnet18": ResNet18,
    "lstm": LSTM,
    "transformer": Transformer,
    "tokens": Tokens,
    "hugging-face": HuggingFace,
    "steps": Steps,
}


def find_encoder(label: str) -> tuple[type[Encoder], dict[str, Any]]:
    """The class and the options of ``name`` or ``name:option=value:option=value``.

    Raises:
        InputError: no such encoder or option, with the nearest one.
    """
    name, options = parse_label(label)
    if name not in ENCODERS:
        raise unknown("encoder", name, ENCODERS)
    kind = ENCODERS[name]
    kind.check({k: v for k, v in options.items() if k != "width" or not kind.sized})
    return kind, options


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


__all__ = [
    "ENCODERS",
    "KINDS",
    "LSTM",
    "MLP",
    "Adapter",
    "CNN1d",
    "CNN2d",
    "Encoder",
    "HuggingFace",
    "ResNet18",
    "Standardize",
    "Steps",
    "Tokens",
    "Transformer",
    "default_encoder",
    "find_encoder",
    "kind_of",
    "unstarted",
    "usual_encoder",
]
