"""The field's data sets by the layout in which their owners publish them."""

from .base import Published
from .crema_d import CREMA_D
from .kinetics_sounds import KINETICS_SOUNDS
from .utd_mhad import UTD_MHAD
from .vggsound import VGGSOUND

PUBLISHED: dict[str, Published] = {
    entry.name: entry for entry in (UTD_MHAD, CREMA_D, KINETICS_SOUNDS, VGGSOUND)
}

__all__ = ["PUBLISHED", "Published"]
