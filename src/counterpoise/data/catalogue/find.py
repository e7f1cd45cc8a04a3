"""Where data sets lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from counterpoise.core.paths import expand
from counterpoise.errors import InputError


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The folder that holds all data sets.

    ``data_dir``, or the environment variable COUNTERPOISE_DATA, or ``counterpoise`` in the user's
    cache (``$XDG_CACHE_HOME`` or ``~/.cache``), whichever is set first.
    """
    if data_dir is not None:
        return expand(data_dir)
    if variable := os.environ.get("COUNTERPOISE_DATA"):
        return expand(variable)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "counterpoise"


def find(name: str, needs: str, folder: str, data_dir: str | Path | None = None) -> Path:
    """A folder or file of a data set.

    Args:
        name: of the data set.
        needs: what to put where.
        folder: below the data folder.
        data_dir: the data folder; None looks it up (:func:`data_folder`).

    Raises:
        InputError: it is not there; the message says what to put where.
    """
    root = data_folder(data_dir)
    path = root / folder
    if not path.exists():
        raise InputError(
            f"data set {name!r} is not complete: found no {path}; put {needs} below {root}, "
            "or point --data-dir (data_dir=) or COUNTERPOISE_DATA to the folder that holds them"
        )
    return path
