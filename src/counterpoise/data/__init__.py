"""Data sets: embedded, read from their owners' layout, or anyone's own arrays and files.

May import: ``core`` and what is below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise.core.lazy import lazy

if TYPE_CHECKING:
    from .arrays import ArrayData
    from .catalogue import DATASETS
    from .catalogue.base import DatasetEntry
    from .dataset import Dataset, Split
    from .loading import load
    from .modalities import Modalities
    from .preparation.cache import open_cache, prepare
    from .preparation.manifest import read_manifest
    from .preparation.plan import Plan, make_plan
    from .preparation.table import Row, Table
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            **dict.fromkeys(("cells", "columns", "preparation", "readers"), ""),
            "arrays": "ArrayData",
            "catalogue": "DATASETS",
            "catalogue.base": "DatasetEntry",
            "dataset": "Dataset Split",
            "loading": "load",
            "modalities": "Modalities",
            "preparation.cache": "open_cache prepare",
            "preparation.manifest": "read_manifest",
            "preparation.plan": "Plan make_plan",
            "preparation.table": "Row Table",
        },
    )

__all__ = [
    "DATASETS",
    "ArrayData",
    "Dataset",
    "DatasetEntry",
    "Modalities",
    "Plan",
    "Row",
    "Split",
    "Table",
    "load",
    "make_plan",
    "open_cache",
    "prepare",
    "read_manifest",
]
