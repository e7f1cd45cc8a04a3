"""Readers of cells: one file a family, each over a maintained library."""

from .base import Reader

READERS: dict[str, type[Reader]] = {}

__all__ = ["READERS", "Reader"]
