"""What the catalogue says of a data set, and how it comes to be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from counterpoise.core.declared import Declared
from counterpoise.data.dataset import Dataset
from counterpoise.data.preparation.cache import open_cache
from counterpoise.data.preparation.table import Table
from counterpoise.errors import InputError, check_once, unknown

from .find import find


class DatasetEntry(Declared):
    """A data set that has a name.

    A subclass defines :meth:`table`, if ``counterpoise prepare NAME RAW OUT`` makes the data set of
    its owners' files, or :meth:`read`, if it is loaded as arrays, or both. Keyword-only arguments
    of its constructor are options of its label (``av-mnist:seed=1``).

    Attributes:
        name: its key in ``DATASETS``.
        summary: one line.
        modalities: all that it offers, in the model's order.
        default: those that are loaded unless others are asked for; all of them if not set.
        licence: the terms of its owners.
        needs: what to put where in the data folder before loading; set for what is prepared.
        folders: what must be there before loading, below the data folder.
        source: where the owners publish it, if it can be prepared, as the two below.
        size: what is to be downloaded, roughly.
        raw: what lies in RAW, as published.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    modalities: ClassVar[tuple[str, ...]]
    default: ClassVar[tuple[str, ...]]
    licence: ClassVar[str]
    needs: ClassVar[str] = ""
    folders: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[str] = ""
    size: ClassVar[str] = ""
    raw: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "default" not in vars(cls):
            cls.default = cls.modalities
        if cls.read is DatasetEntry.read:
            cls.folders = (f"{cls.name}/dataset.json",)
            cls.needs = (
                f"what `counterpoise prepare {cls.name} RAW OUT` makes of the owners' files, as "
                f"{cls.name}/, or name OUT in its place"
            )

    @classmethod
    def find(cls, folder: str, data_dir: str | Path | None = None) -> Path:
        """A folder or file of it below the data folder.

        Raises:
            InputError: it is not there; the message says what to put where.
        """
        return find(cls.name, cls.needs, folder, data_dir)

    @classmethod
    def check(cls, data_dir: str | Path | None = None) -> None:
        """Raise :class:`InputError` if it is not there; the message says what to put where."""
        for folder in cls.folders:
            cls.find(folder, data_dir)

    @classmethod
    def can_prepare(cls) -> bool:
        """Whether ``counterpoise prepare NAME RAW OUT`` makes it of its owners' files."""
        return cls.table is not DatasetEntry.table

    def load(
        self, data_dir: str | Path | None = None, modalities: Sequence[str] | None = None
    ) -> Dataset:
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
        check_once("modalities", chosen)
        return self.read(data_dir, tuple(m for m in self.modalities if m in chosen))

    def read(self, data_dir: str | Path | None, modalities: tuple[str, ...]) -> Dataset:
        """The data with these modalities; by default those that were prepared.

        Args:
            data_dir: the data folder; None looks it up.
            modalities: at least one of the known ones, in their order.

        Raises:
            InputError: files are not there, or cannot be read.
        """
        return open_cache(self.find(self.name, data_dir)).select(*modalities)

    def table(self, raw: Path) -> Table:
        """The rows of the owners' files: official splits, the papers' preprocessing as default.

        Args:
            raw: the folder that holds them.

        Raises:
            InputError: the layout is not there; what is wrong with a single row goes into
                ``Table.bad``.
        """
        raise InputError(f"{self.name} is not prepared: counterpoise.load({self.name!r}) reads it")
