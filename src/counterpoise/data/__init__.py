"""Data sets: embedded, read from their owners' layout, or anyone's own arrays and files.

May import: ``core`` and what is below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from counterpoise.errors import InputError, unknown

from .catalogue import PUBLISHED, Published
from .catalogue.av_mnist import av_mnist
from .catalogue.digits import digits
from .catalogue.find import NEEDS, find
from .catalogue.utd_mhad import utd_mhad
from .dataset import ArrayData, Split
from .preparation.cache import open_cache, prepare, verify
from .preparation.manifest import read_manifest
from .preparation.plan import Plan, settle
from .preparation.table import Row, Table

__all__ = [
    "DATASETS",
    "PUBLISHED",
    "ArrayData",
    "DataSet",
    "Plan",
    "Published",
    "Row",
    "Split",
    "Table",
    "load",
    "open_cache",
    "prepare",
    "read_manifest",
    "settle",
    "verify",
]


@dataclass(frozen=True)
class DataSet:
    """A data set known by name.

    Attributes:
        name: its key in :data:`DATASETS`.
        summary: one line.
        modalities: all that it offers.
        default: those that are loaded unless others are asked for.
        read: data folder (None: look it up) and modalities -> the data.
        needs: what to put where before loading; empty where nothing is needed.
        licence: the terms of its parts.
        folders: what must be there before loading, below the data folder.
    """

    name: str
    summary: str
    modalities: tuple[str, ...]
    default: tuple[str, ...]
    read: Callable[[str | Path | None, tuple[str, ...]], ArrayData]
    needs: str
    licence: str
    folders: tuple[str, ...] = ()

    def check(self, data_dir: str | Path | None = None) -> None:
        """Raise :class:`InputError` if it is not there; the message says what to put where."""
        for folder in self.folders:
            find(self.name, folder, data_dir)

    def load(
        self, data_dir: str | Path | None = None, modalities: Sequence[str] | None = None
    ) -> ArrayData:
        """Read it, with the ``modalities`` asked for (None: the default ones)."""
        if isinstance(modalities, str):
            raise InputError(f"modalities must be a list of names, found the text {modalities!r}")
        chosen = self.default if modalities is None else tuple(modalities)
        if not chosen:
            raise InputError(
                f"modalities must name at least one of {', '.join(self.modalities)}, found none"
            )
        for modality in chosen:
            if modality not in self.modalities:
                raise unknown(f"modality of {self.name}", modality, self.modalities)
        return self.read(data_dir, tuple(m for m in self.modalities if m in chosen))


DATASETS: dict[str, DataSet] = {
    "digits": DataSet(
        name="digits",
        summary="1,797 written digits, each with a synthetic spoken one; embedded, no download",
        modalities=("image", "audio"),
        default=("image", "audio"),
        read=lambda data_dir, modalities: digits().select(*modalities),
        needs="",
        licence="images CC BY 4.0 (UCI, Alpaydin and Kaynak); sound made for this package, MIT",
    ),
    "av-mnist": DataSet(
        name="av-mnist",
        summary="3,000 pairs of a faint written and a noisy spoken digit (MNIST and FSDD)",
        modalities=("image", "audio"),
        default=("image", "audio"),
        read=lambda data_dir, modalities: av_mnist(data_dir).select(*modalities),
        needs=NEEDS["av-mnist"],
        licence="MNIST CC BY-SA 3.0; Free Spoken Digit Dataset CC BY-SA 4.0",
        folders=("mnist", "fsdd/recordings"),
    ),
    "utd-mhad": DataSet(
        name="utd-mhad",
        summary="861 sequences of 27 actions by 8 people: skeleton, worn sensor, depth",
        modalities=("skeleton", "inertial", "depth"),
        default=("skeleton", "inertial"),
        read=utd_mhad,
        needs=NEEDS["utd-mhad"],
        licence="free for research (Chen, Jafari and Kehtarnavaz, ICIP 2015)",
        folders=("utd_mhad/Skeleton", "utd_mhad/Inertial"),
    ),
}


def _prepared(entry: Published) -> DataSet:
    """A data set of the field, once its prepared form lies in the data folder."""
    needs = (
        f"what `counterpoise prepare {entry.name} RAW OUT` makes of the owners' files, as "
        f"{entry.name}/, or name OUT in its place"
    )
    NEEDS[entry.name] = needs

    def read(data_dir: str | Path | None, modalities: tuple[str, ...]) -> ArrayData:
        return open_cache(find(entry.name, entry.name, data_dir)).select(*modalities)

    return DataSet(
        entry.name,
        entry.summary,
        entry.modalities,
        entry.modalities,
        read,
        needs,
        entry.licence,
        (f"{entry.name}/dataset.json",),
    )


DATASETS |= {n: _prepared(entry) for n, entry in PUBLISHED.items() if n not in DATASETS}


def load(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    modalities: Sequence[str] | None = None,
) -> ArrayData:
    """A data set by its name in :data:`DATASETS`, or by the folder of its prepared form.

    Args:
        name: such as ``"digits"``, or a folder that ``counterpoise prepare`` wrote.
        data_dir: where data sets lie; default COUNTERPOISE_DATA, then the user's cache.
        modalities: which to load; None loads the data set's default ones.

    Raises:
        InputError: an unknown name or modality, data that are not there or not complete.
    """
    if str(name) in DATASETS:
        return DATASETS[str(name)].load(data_dir, modalities)
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
