"""From the features of all present modalities to logits, and to what each modality says alone."""

from __future__ import annotations

from .base import UNIMODAL, Fusion, weights
from .linear import Additive, Concat, Late, Shared, Sum

FUSIONS: dict[str, type[Fusion]] = {"concat": Concat, "sum": Sum, "shared": Shared, "late": Late}

__all__ = [
    "FUSIONS",
    "UNIMODAL",
    "Additive",
    "Concat",
    "Fusion",
    "Late",
    "Shared",
    "Sum",
    "weights",
]
