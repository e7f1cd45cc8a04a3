"""The methods, one file each, their table, and the functions that several of them share.

May import: ``engine`` and what is below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise.core.lazy import lazy
from counterpoise.core.registry import Registry

if TYPE_CHECKING:
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

METHODS: Registry[Method] = Registry(
    "method",
    "counterpoise.engine.method:Method",
    {
        "joint": "counterpoise.methods.joint:Joint",
        "unimodal": "counterpoise.methods.unimodal:Unimodal",
        "multi-loss": "counterpoise.methods.multi_loss:MultiLoss",
        "linear-probe": "counterpoise.methods.linear_probe:LinearProbe",
        "modality-dropout": "counterpoise.methods.modality_dropout:ModalityDropout",
        "mla": "counterpoise.methods.mla:MLA",
        "diagnose-relearn": "counterpoise.methods.diagnose_relearn:DiagnoseRelearn",
        "ogm": "counterpoise.methods.ogm:OGM",
        "ogm-ge": "counterpoise.methods.ogm_ge:OGMGE",
        "g-blending": "counterpoise.methods.g_blending:GBlending",
        "greedy": "counterpoise.methods.greedy:Greedy",
        "pmr": "counterpoise.methods.pmr:PMR",
        "agm": "counterpoise.methods.agm:AGM",
        "opm": "counterpoise.methods.opm:OPM",
        "mmpareto": "counterpoise.methods.mmpareto:MMPareto",
        "mmcosine": "counterpoise.methods.mmcosine:MMCosine",
        "qmf": "counterpoise.methods.qmf:QMF",
        "umt": "counterpoise.methods.umt:UMT",
        "ume": "counterpoise.methods.ume:UME",
        "mbsd": "counterpoise.methods.mbsd:MBSD",
        "cml": "counterpoise.methods.cml:CML",
        "amco": "counterpoise.methods.amco:AMCo",
        "lfm": "counterpoise.methods.lfm:LFM",
        "reconboost": "counterpoise.methods.reconboost:ReconBoost",
        "modality-valuation": "counterpoise.methods.modality_valuation:ModalityValuation",
        "dgl": "counterpoise.methods.dgl:DGL",
        "arl": "counterpoise.methods.arl:ARL",
        "inforeg": "counterpoise.methods.inforeg:InfoReg",
        "cggm": "counterpoise.methods.cggm:CGGM",
        "aug": "counterpoise.methods.aug:AUG",
    },
    group="counterpoise.methods",
    options=lambda kind: kind.options(),
)

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

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, {}, METHODS.own)
