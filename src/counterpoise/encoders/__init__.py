"""Encoders: small ones, those of the papers, and adapters to other libraries.

May import: ``data`` and what is below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise.core.lazy import lazy
from counterpoise.core.registry import Registry

if TYPE_CHECKING:
    from .adapter import Adapter
    from .base import Encoder
    from .hugging_face import HuggingFace
    from .resnet import ResNet18
    from .sequence import GRU, LSTM, Steps, Transformer
    from .small import MLP, CNN1d, CNN2d, Standardize
    from .text import Tokens
    from .usual import unstarted, usual_encoder

ENCODERS: Registry[Encoder] = Registry(
    "encoder",
    "counterpoise.encoders.base:Encoder",
    {
        "mlp": "counterpoise.encoders.small:MLP",
        "cnn1d": "counterpoise.encoders.small:CNN1d",
        "cnn2d": "counterpoise.encoders.small:CNN2d",
        "resnet18": "counterpoise.encoders.resnet:ResNet18",
        "lstm": "counterpoise.encoders.sequence:LSTM",
        "gru": "counterpoise.encoders.sequence:GRU",
        "transformer": "counterpoise.encoders.sequence:Transformer",
        "tokens": "counterpoise.encoders.text:Tokens",
        "hugging-face": "counterpoise.encoders.hugging_face:HuggingFace",
        "steps": "counterpoise.encoders.sequence:Steps",
        # The small ones by the kind of their samples (counterpoise.data.kinds).
        "vector": "counterpoise.encoders.small:MLP",
        "sequence": "counterpoise.encoders.small:CNN1d",
        "image": "counterpoise.encoders.small:CNN2d",
    },
    group="counterpoise.encoders",
    options=lambda kind: kind.options() | ({"width": 128} if kind.sized else {}),
)

__all__ = [
    "ENCODERS",
    "GRU",
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
    "unstarted",
    "usual_encoder",
]

if not TYPE_CHECKING:
    names = {
        "adapter": "Adapter",
        "base": "Encoder",
        "small": "Standardize",
        "usual": "unstarted usual_encoder",
    }
    __getattr__, __dir__ = lazy(__name__, names, ENCODERS.own)
