"""The field's data sets, one file each, by the layout in which their owners publish them.

May import: ``data.preparation`` and what that may import.
"""

from .base import Published
from .cmu_mosei import CMU_MOSEI, CMU_MOSEI_2
from .cmu_mosi import CMU_MOSI, CMU_MOSI_2
from .crema_d import CREMA_D
from .food_101 import FOOD_101
from .iemocap import IEMOCAP, IEMOCAP_FEATURES
from .kinetics_sounds import KINETICS_SOUNDS
from .mvsa_single import MVSA_SINGLE
from .ucf_101 import UCF_101
from .utd_mhad_files import UTD_MHAD
from .vggsound import VGGSOUND

PUBLISHED: dict[str, Published] = {
    entry.name: entry
    for entry in (
        UTD_MHAD,
        CREMA_D,
        KINETICS_SOUNDS,
        VGGSOUND,
        UCF_101,
        FOOD_101,
        MVSA_SINGLE,
        IEMOCAP,
        IEMOCAP_FEATURES,
        CMU_MOSI,
        CMU_MOSI_2,
        CMU_MOSEI,
        CMU_MOSEI_2,
    )
}

__all__ = ["PUBLISHED", "Published"]
