"""HDF5 files, opened only if all that they hold is in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from counterpoise.errors import InputError

from .base import need


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file, open for reading, that points at no other file of the machine.

    Raises:
        InputError: it does: by an external link, by raw data that lie elsewhere, or by a virtual
            dataset of other files. None of them is opened.
        Exception: whatever a damaged file breaks in the library.
    """
    h5py = need("h5py", "media")
    with h5py.File(path, "r") as file:
        if elsewhere := _find_elsewhere(file, h5py):
            name, other = elsewhere
            raise InputError(
                f"{path.name} points at another file, which is not read: {name!r} is in "
                f"{Path(other).name!r}; copy the values into the file (h5repack, or h5py's "
                "file[name][()])"
            )
        yield file


def _find_elsewhere(file: Any, h5py: Any) -> tuple[str, str] | None:
    """The first name that leads to another file, and which one; None where none does."""
    own: set[str] = set()  # what hard links lead to
    sources: list[tuple[str, str]] = []

    def look(name: str, link: Any) -> tuple[str, str] | None:
        if isinstance(link, h5py.ExternalLink):
            return name, str(link.filename)
        if not isinstance(link, h5py.HardLink):
            return None
        own.add(name)
        item = file[name]
        if not isinstance(item, h5py.Dataset):
            return None
        if item.external:
            return name, str(item.external[0][0])
        for source in item.virtual_sources() if item.is_virtual else ():
            if source.file_name != ".":
                return name, str(source.file_name)
            sources.append((name, str(source.dset_name)))
        return None

    found: tuple[str, str] | None = file.visititems_links(look)
    # In the file itself a virtual dataset may name what only a link leads to.
    odd = ((name, other) for name, other in sources if other.strip("/") not in own)
    return found or next(odd, None)
