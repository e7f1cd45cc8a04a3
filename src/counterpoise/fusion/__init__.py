"""From the features of all present modalities to logits, and to what each modality says alone."""

from __future__ import annotations

from .base import UNIMODAL, Fusion, weights
from .boosted import Boosted
from .conditioned import FiLM, Gated
from .cosine import Cosine
from .linear import Additive, Concat, Late, Shared, Sum
from .mmtm import MMTM

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
}

__all__ = [
    "FUSIONS",
    "MMTM",
    "UNIMODAL",
    "Additive",
    "Boosted",
    "Concat",
    "Cosine",
    "FiLM",
    "Fusion",
    "Gated",
    "Late",
    "Shared",
    "Sum",
    "weights",
]
