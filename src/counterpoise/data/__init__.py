"""Data sets: embedded, read from their owners' layout, or anyone's own arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from counterpoise.errors import InputError, unknown

from .arrays import ArrayData, Split
from .av_mnist import av_mnist
from .digits import digits
from .find import NEEDS, find
from .utd_mhad import utd_mhad

__all__ = ["DATASETS", "ArrayData", "DataSet", "Split", "load"]


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


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    modalities: Sequence[str] | None = None,
) -> ArrayData:
    """The data set ``name`` of :data:`DATASETS`.

    Args:
        name: such as ``"digits"``.
        data_dir: where data sets lie; default COUNTERPOISE_DATA, then the user's cache.
        modalities: which to load; None loads the data set's default ones.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name].load(data_dir, modalities)
