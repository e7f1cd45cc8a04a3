"""Fusions: from the features of all present modalities to logits, and to each modality's own.

One file holds one family of fusions.

May import: ``data`` and what is below it.
"""

from __future__ import annotations

from typing import Any

from counterpoise.core.labels import parse_label
from counterpoise.errors import unknown

from .base import UNIMODAL, Fusion, weights
from .boosted import Boosted
from .bottleneck import Bottleneck
from .conditioned import FiLM, Gated
from .cosine import Cosine
from .linear import Additive, Concat, Late, Shared, Sum
from .memory import MemoryFusion
from .mmtm import MMTM
from .recurrent import EarlyLSTM

FUSIONS: dict[str, type[Fusion]] = {
    "concat": Concat,
    "sum": Sum,
    "shared": Shared,
    "late": Late,
    "film": FiLM,
    "gated": Gated,
    "cosine": Cosine,
    "mmtm": MMTM,
    "boosted": Boosted,
    "bottleneck": Bottleneck,
    "early-lstm": EarlyLSTM,
    "memory-fusion": MemoryFusion,
}


def find_fusion(label: str) -> tuple[type[Fusion], dict[str, Any]]:
    """The class and the options of ``name`` or ``name:option=value:option=value``.

    Raises:
        InputError: no such fusion or option, with the nearest one.
    """
    name, options = parse_label(label)
    if name not in FUSIONS:
        raise unknown("fusion", name, FUSIONS)
    for option in options:
        if option not in FUSIONS[name].options():
            raise unknown(f"option of {name}", option, FUSIONS[name].options())
    return FUSIONS[name], options


def fusion_name(fusion: Fusion) -> str:
    """Its name in ``FUSIONS``; of one that is not in there, that of its class in lower case."""
    names = {kind: name for name, kind in FUSIONS.items()}
    return names.get(type(fusion), type(fusion).__name__.lower())


__all__ = [
    "FUSIONS",
    "MMTM",
    "UNIMODAL",
    "Additive",
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
    "find_fusion",
    "fusion_name",
    "weights",
]
