"""What ``dataset.json`` must hold; readers and the task check what is theirs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, field

from counterpoise.core.schema import Shape, check
from counterpoise.errors import InputError

ADVICE = "prepare the data again"
Count = Annotated[int, Meta(ge=0)]


class TypeOfReader(Shape):
    """Which reader read a modality; it checks its own options."""

    type: str


class Scale(Shape):
    """Mean and deviation of each channel of a modality."""

    mean: list[float]
    std: list[float]
    unknown: list[Count] = field(default_factory=list)


class ModalityOfIndex(Shape):
    """How a modality lies in the shards."""

    reader: TypeOfReader
    kind: str | None
    tensors: Annotated[dict[str, tuple[str, list[Count]]], Meta(min_length=1)]
    scale: Scale | None
    gaps: tuple[Count, Annotated[int, Meta(ge=1)], Count] | None = None


class ShardOfIndex(Shape):
    """One of the files of a split."""

    file: str
    rows: Annotated[int, Meta(ge=1)]
    bytes: Count
    sha256: str


class Index(Shape):
    """``dataset.json``."""

    name: str
    task: dict[str, Any]
    modalities: Annotated[dict[str, ModalityOfIndex], Meta(min_length=1)]
    grouped: bool
    splits: dict[str, list[ShardOfIndex]]


def check_index(index: Any, file: Path, formats: Collection[int]) -> None:
    """Raise :class:`InputError` unless this is what ``dataset.json`` holds."""
    found = index.get("format") if isinstance(index, dict) else None
    if not isinstance(found, int) or isinstance(found, bool):
        raise InputError(f"{file} is damaged (no format); {ADVICE}")
    if found not in formats:
        raise InputError(
            f"{file.parent} is of format {found}, this version reads "
            f"{min(formats)} to {max(formats)}; {ADVICE}"
        )
    check(index, Index, file, ADVICE)
