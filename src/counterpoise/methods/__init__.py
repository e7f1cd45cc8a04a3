"""The table of methods: name -> class."""

from __future__ import annotations

from counterpoise.method import Method

from .diagnose_relearn import DiagnoseRelearn
from .joint import Joint
from .mla import MLA
from .modality_dropout import ModalityDropout
from .multi_loss import MultiLoss
from .unimodal import Unimodal

METHODS: dict[str, type[Method]] = {
    "joint": Joint,
    "unimodal": Unimodal,
    "multi-loss": MultiLoss,
    "modality-dropout": ModalityDropout,
    "mla": MLA,
    "diagnose-relearn": DiagnoseRelearn,
}

__all__ = [
    "METHODS",
    "MLA",
    "DiagnoseRelearn",
    "Joint",
    "ModalityDropout",
    "MultiLoss",
    "Unimodal",
]
