"""The methods, one file each, their table, and the functions that several of them share.

May import: ``engine`` and what is below it.
"""

from __future__ import annotations

from counterpoise.engine.method import Method

from .agm import AGM
from .amco import AMCo
from .arl import ARL
from .aug import AUG
from .cggm import CGGM
from .cml import CML
from .dgl import DGL
from .diagnose_relearn import DiagnoseRelearn
from .g_blending import GBlending
from .greedy import Greedy
from .inforeg import InfoReg
from .joint import Joint
from .lfm import LFM
from .linear_probe import LinearProbe
from .mbsd import MBSD
from .mla import MLA
from .mmcosine import MMCosine
from .mmpareto import MMPareto
from .modality_dropout import ModalityDropout
from .modality_valuation import ModalityValuation
from .multi_loss import MultiLoss
from .ogm import OGM
from .ogm_ge import OGMGE
from .opm import OPM
from .pmr import PMR
from .qmf import QMF
from .reconboost import ReconBoost
from .ume import UME
from .umt import UMT
from .unimodal import Unimodal

METHODS: dict[str, type[Method]] = {
    "joint": Joint,
    "unimodal": Unimodal,
    "multi-loss": MultiLoss,
    "linear-probe": LinearProbe,
    "modality-dropout": ModalityDropout,
    "mla": MLA,
    "diagnose-relearn": DiagnoseRelearn,
    "ogm": OGM,
    "ogm-ge": OGMGE,
    "g-blending": GBlending,
    "greedy": Greedy,
    "pmr": PMR,
    "agm": AGM,
    "opm": OPM,
    "mmpareto": MMPareto,
    "mmcosine": MMCosine,
    "qmf": QMF,
    "umt": UMT,
    "ume": UME,
    "mbsd": MBSD,
    "cml": CML,
    "amco": AMCo,
    "lfm": LFM,
    "reconboost": ReconBoost,
    "modality-valuation": ModalityValuation,
    "dgl": DGL,
    "arl": ARL,
    "inforeg": InfoReg,
    "cggm": CGGM,
    "aug": AUG,
}

__all__ = [
    "AGM",
    "ARL",
    "AUG",
    "CGGM",
    "CML",
    "DGL",
    "LFM",
    "MBSD",
    "METHODS",
    "MLA",
    "OGM",
    "OGMGE",
    "OPM",
    "PMR",
    "QMF",
    "UME",
    "UMT",
    "AMCo",
    "DiagnoseRelearn",
    "GBlending",
    "Greedy",
    "InfoReg",
    "Joint",
    "LinearProbe",
    "MMCosine",
    "MMPareto",
    "ModalityDropout",
    "ModalityValuation",
    "MultiLoss",
    "ReconBoost",
    "Unimodal",
]
