"""Fusions: from the features of all present modalities to logits, and to each modality's own.

One file holds one family of fusions.

May import: ``data`` and what is below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise.core.lazy import lazy
from counterpoise.core.registry import Registry

if TYPE_CHECKING:
    from .base import UNIMODAL, Fusion, weights
    from .boosted import Boosted
    from .bottleneck import Bottleneck
    from .conditioned import FiLM, Gated
    from .cosine import Cosine
    from .linear import Concat, Late, Shared, Sum
    from .memory import MemoryFusion
    from .mmtm import MMTM
    from .recurrent import EarlyLSTM

FUSIONS: Registry[Fusion] = Registry(
    "fusion",
    "counterpoise.fusion.base:Fusion",
    {
        "concat": "counterpoise.fusion.linear:Concat",
        "sum": "counterpoise.fusion.linear:Sum",
        "shared": "counterpoise.fusion.linear:Shared",
        "late": "counterpoise.fusion.linear:Late",
        "film": "counterpoise.fusion.conditioned:FiLM",
        "gated": "counterpoise.fusion.conditioned:Gated",
        "cosine": "counterpoise.fusion.cosine:Cosine",
        "mmtm": "counterpoise.fusion.mmtm:MMTM",
        "boosted": "counterpoise.fusion.boosted:Boosted",
        "bottleneck": "counterpoise.fusion.bottleneck:Bottleneck",
        "early-lstm": "counterpoise.fusion.recurrent:EarlyLSTM",
        "memory-fusion": "counterpoise.fusion.memory:MemoryFusion",
    },
    group="counterpoise.fusions",
    options=lambda kind: kind.options(),
)

__all__ = [
    "FUSIONS",
    "MMTM",
    "UNIMODAL",
    "Boosted",
    "Bottleneck",
    "Concat",
    "Cosine",
    "EarlyLSTM",
    "FiLM",
    "Fusion",
    "Gated",
    "Late",
    "MemoryFusion",
    "Shared",
    "Sum",
    "weights",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, {"base": "UNIMODAL Fusion weights"}, FUSIONS.own)
