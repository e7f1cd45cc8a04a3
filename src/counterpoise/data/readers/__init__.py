"""Readers of cells: one file a family, each over a maintained library."""

from collections.abc import Mapping
from typing import Any

from counterpoise.errors import unknown

from .base import Reader

READERS: dict[str, type[Reader]] = {}


def build_reader(settings: Mapping[str, Any]) -> Reader:
    """A reader from its type and options, as :meth:`Reader.settings` writes them."""
    name = settings.get("type")
    if name not in READERS:
        raise unknown("type of modality", name, READERS)
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    del options["type"]
    return READERS[str(name)]().changed(str(name), **options)


__all__ = ["READERS", "Reader", "build_reader"]
