"""What a data set of the field is, as its owners publish it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from counterpoise.data.preparation.table import Table


@dataclass(frozen=True)
class Published:
    """A data set that ``counterpoise prepare NAME RAW OUT`` knows.

    Attributes:
        name: its key in ``PUBLISHED``.
        summary: one line.
        modalities: in the model's order.
        licence: the terms of its owners.
        source: where the owners publish it.
        size: what is to be downloaded, roughly.
        needs: what lies in RAW, as published.
        table: RAW -> rows, official splits and the papers' preprocessing as default. Raises
            :class:`counterpoise.InputError` where the layout is not there; what is wrong with a
            single row goes into ``Table.bad``.
    """

    name: str
    summary: str
    modalities: tuple[str, ...]
    licence: str
    source: str
    size: str
    needs: str
    table: Callable[[Path], Table]
