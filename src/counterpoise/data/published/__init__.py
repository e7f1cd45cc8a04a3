"""The field's data sets by the layout in which their owners publish them."""

from .base import Published

PUBLISHED: dict[str, Published] = {}

__all__ = ["PUBLISHED", "Published"]
