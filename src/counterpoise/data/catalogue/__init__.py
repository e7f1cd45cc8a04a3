"""The data sets that have a name: one file each, which says what it is and how it is read.

May import: ``data.preparation`` and what that may import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise.core.registry import Registry

if TYPE_CHECKING:
    from .base import DatasetEntry

_HERE = "counterpoise.data.catalogue"

DATASETS: Registry[DatasetEntry] = Registry(
    "data set",
    f"{_HERE}.base:DatasetEntry",
    {
        "digits": f"{_HERE}.digits:Digits",
        "av-mnist": f"{_HERE}.av_mnist:AvMnist",
        "utd-mhad": f"{_HERE}.utd_mhad:UtdMhad",
        "crema-d": f"{_HERE}.crema_d:CremaD",
        "kinetics-sounds": f"{_HERE}.kinetics_sounds:KineticsSounds",
        "vggsound": f"{_HERE}.vggsound:VggSound",
        "ucf-101": f"{_HERE}.ucf_101:Ucf101",
        "food-101": f"{_HERE}.food_101:Food101",
        "mvsa-single": f"{_HERE}.mvsa_single:MvsaSingle",
        "iemocap": f"{_HERE}.iemocap:Iemocap",
        "iemocap-features": f"{_HERE}.iemocap:IemocapFeatures",
        "cmu-mosi": f"{_HERE}.cmu_mosi:CmuMosi",
        "cmu-mosi-2": f"{_HERE}.cmu_mosi:CmuMosi2",
        "cmu-mosei": f"{_HERE}.cmu_mosei:CmuMosei",
        "cmu-mosei-2": f"{_HERE}.cmu_mosei:CmuMosei2",
    },
    group="counterpoise.datasets",
)
