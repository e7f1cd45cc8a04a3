"""The field's data sets by the layout in which their owners publish them."""

from .base import Published
from .utd_mhad import UTD_MHAD

PUBLISHED: dict[str, Published] = {entry.name: entry for entry in (UTD_MHAD,)}

__all__ = ["PUBLISHED", "Published"]
