"""How the cells of a table become the tensors of samples."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from counterpoise.core.declared import read_rules
from counterpoise.core.files import check_file
from counterpoise.core.registry import check_options
from counterpoise.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

Array = NDArray[Any]
Value = Array | dict[str, Array]


class Outside(str):
    """A path in a cell that leads out of the folder that cells are confined to.

    Its value names no file on any system, so that nothing can open it.
    """

    def __new__(cls, text: str) -> Outside:
        return super().__new__(cls, f"\0{text}")

    def refuse(self) -> InputError:
        """The error for whoever wants to read it."""
        return InputError(f"{self[1:]!r:.200} leads out of the folder of the table (--inside)")


class Unmeasured(InputError):
    """Nothing in a cell was measured."""


@dataclass(frozen=True)
class Reader(ABC):
    """Turns one cell into one sample of a modality, always of one shape and type.

    A reader is a frozen dataclass of plain values, which are written beside what was decoded, so
    that the same samples can be made again. The annotations of its fields declare what each may be.

    Attributes:
        name: in ``READERS``.
        kind: which small encoder suits it (``KINDS``); empty where an encoder must be chosen.
        suffixes: of the files that it reads.
        young: fields that older settings lack -> what their absence means, which need not be the
            default. Settings leave a field out that means that.
        extra: of the package, which brings the libraries that reading needs; empty where none does.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    young: ClassVar[Mapping[str, Any]] = {}
    extra: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__post_init__" not in vars(cls):
            return
        own = vars(cls)["__post_init__"]

        @wraps(own)
        def check(self: Reader) -> None:
            Reader.__post_init__(self)
            own(self)

        kind: Any = cls
        kind.__post_init__ = check

    def __post_init__(self) -> None:
        for name, rule in read_rules(type(self)).items():
            object.__setattr__(self, name, rule.check(name, getattr(self, name)))

    def fit(self, cells: Sequence[Any]) -> Self:
        """A reader whose open settings (a length, a vocabulary) are taken from the training cells.

        If reading all of them takes long, look at some, always the same. Skip a cell that cannot
        be read: it is reported later.
        """
        return self

    def lacks(self, cell: Any) -> bool:
        """Whether a cell, without opening a file, holds nothing but what was not measured."""
        return False

    def find_lacking(self, cells: Sequence[Any]) -> NDArray[np.bool_]:
        """bool [N]: :meth:`lacks` of each cell; a reader of short cells overrides it to be fast."""
        return np.array([self.lacks(cell) for cell in cells], dtype=bool)

    @abstractmethod
    def read(self, cell: Any) -> Value:
        """The sample of a cell, which is never None.

        Arrays of uint8 (pixels), int64 (tokens) or float32, in which NaN stands for a value that
        was not measured; a dict for several (text).

        Raises:
            Unmeasured: nothing of it was measured, so that the sample lacks the modality.
            InputError: what is wrong with the cell, in a few words. Whatever else is raised
                counts as unreadable too.
        """

    def read_many(self, cells: Sequence[Any]) -> list[Value | Exception]:
        """:meth:`read` of each cell, or what it raised; overridden where together is faster."""
        return [self._attempt(cell) for cell in cells]

    def _attempt(self, cell: Any) -> Value | Exception:
        try:
            return self.read(cell)
        except Exception as error:  # a damaged file can break its library anywhere
            return error

    @property
    def sample_kind(self) -> str:
        """``kind``, or what the training cells have shown."""
        return self.kind

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Option -> default: the fields."""
        return {f.name: f.default for f in fields(cls)}

    def settings(self) -> dict[str, Any]:
        """Type and options, fit for JSON."""
        young = self.young
        kept = {k: v for k, v in asdict(self).items() if k not in young or v != young[k]}
        return {"type": self.name, **kept}

    def changed(self, where: str, **options: Any) -> Self:
        """The same reader with other options; ``where`` names it in errors."""
        check_options(f"{where} ({self.name})", self.options(), options, read_rules(type(self)))
        return replace(self, **options)


def need(module: str, extra: str) -> ModuleType:
    """Import a library that only some users need; the error names the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{module} is needed for this and cannot be imported ({error}); "
            f"install the extra {extra!r}: pip install '.[{extra}]' in the checkout"
        ) from None


def some(cells: Sequence[Any], most: int = 1000) -> list[Any]:
    """At most ``most`` of the cells, evenly chosen."""
    places = np.linspace(0, len(cells) - 1, min(len(cells), most)).round().astype(int)
    take = getattr(cells, "take", None)  # together, where they are not in memory
    return list(take(places)) if take else [cells[place] for place in places]


def existing(cell: Any) -> Path:
    """The file that a cell names."""
    if isinstance(cell, Outside):
        raise cell.refuse()
    path = Path(str(cell))
    check_file(path)
    if not path.is_file():
        raise InputError(f"{path} is not there")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")
    return path


def fit_length(values: Array, length: int, axis: int = -1, repeat: bool = False) -> Array:
    """``values`` cropped to ``length`` along an axis, or filled up with zeros or by repetition."""
    have = values.shape[axis]
    if have >= length:
        return np.asarray(np.take(values, np.arange(length), axis=axis))
    if repeat:
        return np.asarray(np.take(values, np.arange(length) % have, axis=axis))
    width = [(0, 0)] * values.ndim
    width[axis] = (0, length - have)
    return np.pad(values, width)
