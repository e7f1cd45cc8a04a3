"""From the features of all present modalities to logits, and to what each modality says alone."""

from __future__ import annotations

from .base import UNIMODAL, Fusion, weights
from .conditioned import FiLM, Gated
from .cosine import Cosine
from .linear import Additive, Concat, Late, Shared, Sum

FUSIONS: dict[str, type[Fusion]] = {
    "concat": Concat,
    "sum": Sum,
    "shared": Shared,
    "late": Late,
    "film": FiLM,
    "gated": Gated,
    "cosine": Cosine,
}

__all__ = [
    "FUSIONS",
    "UNIMODAL",
    "Additive",
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
