"""A data set by its name, or by the folder in which it was prepared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from counterpoise.errors import InputError, unknown

from .catalogue import DATASETS
from .dataset import Dataset
from .preparation.cache import open_cache


def is_name(source: str | Path) -> bool:
    """Whether this is a name in ``DATASETS``, with or without options, and not a folder."""
    return str(source).partition(":")[0] in DATASETS


def load(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    modalities: Sequence[str] | None = None,
) -> Dataset:
    """A data set by its name in ``DATASETS``, or by the folder of its prepared form.

    Args:
        name: such as ``"digits"``, also with options (``"av-mnist:seed=1"``); or a folder that
            ``counterpoise prepare`` wrote.
        data_dir: where data sets lie; default COUNTERPOISE_DATA, then the user's cache.
        modalities: which to load; None loads the data set's default ones.

    Raises:
        InputError: an unknown name or modality, data that are not there or not complete.
    """
    if is_name(name):
        return DATASETS.build(str(name)).load(data_dir, modalities)
    if not Path(name).is_dir():
        if len(Path(name).parts) > 1:
            raise InputError(f"{name} is no folder of prepared data: it is not there")
        raise unknown("data set", name, [*DATASETS, "or a folder of prepared data"])
    data = open_cache(name)
    if modalities is None:
        return data
    if isinstance(modalities, str):
        raise InputError(f"modalities must be a list of names, found the text {modalities!r}")
    return data.select(*modalities)
